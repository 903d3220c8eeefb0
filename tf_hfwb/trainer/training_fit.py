"""Run a planned training with ``model.fit``, and sum it up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tf_hfwb.fit.fit_session import running_session
from tf_hfwb.fit.token_totals import TokenTotals
from tf_hfwb.fit.training_totals import TrainingTotals
from tf_hfwb.keras_compat import host_of
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.training_backend import checks_of_numbers
from tf_hfwb.trainer.training_plan import TrainingPlan

if TYPE_CHECKING:
    from transformers.trainer_utils import TrainOutput


def run_fit(model: Any, plan: TrainingPlan, callbacks: Sequence[Any]) -> None:
    """Call ``fit``. Whatever exception ends it is passed on, after callbacks have ended what they began.

    Args:
        model: The model, with its optimizer.
        plan: What it trains on, and how long.
        callbacks: All callbacks, in order.
    """
    length = plan.length
    host = host_of(model)
    accumulating = host.accumulating(length.groups, length.position.batch, length.position.batches)
    weighing = host.weighing_replicas(
        by_samples=plan.has_partial_batches, by_tokens=plan.args.average_tokens_across_devices
    )
    with checks_of_numbers(model, plan.args), accumulating, weighing:
        try:
            model.fit(
                plan.batches.dataset,
                steps_per_epoch=length.steps_per_epoch,
                epochs=length.epochs,
                callbacks=callbacks,
                shuffle=False,  # The pipeline shuffles.
                verbose=0,  # The trainer has a bar for the whole training.
            )
        except BaseException:
            session = running_session(model)
            if session is not None:
                session.interrupt()  # Keras tells callbacks nothing of an exception.
            raise


def training_output(
    args: TFTrainingArguments, totals: TrainingTotals, tokens: TokenTotals | None, began: float
) -> TrainOutput:
    """What ``train`` returns.

    Args:
        args: What it is to say of tokens.
        totals: The fit.
        tokens: Its tokens; None if they were not counted.
        began: When it began, by ``time.time()``.
    """
    from transformers.trainer_utils import TrainOutput, speed_metrics

    num_tokens = tokens.tokens if tokens is not None and args.include_tokens_per_second else None
    metrics = speed_metrics("train", began, totals.samples, totals.steps, num_tokens)
    if tokens is not None and args.include_num_input_tokens_seen != "no":
        metrics["num_input_tokens_seen"] = tokens.seen
    metrics["train_loss"] = totals.loss
    return TrainOutput(totals.step, totals.loss, metrics)
