"""Run a planned training with ``model.fit``, and sum it up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tf_hfwb.fit.fit_session import running_session
from tf_hfwb.fit.training_totals import TrainingTotals
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
    try:
        with checks_of_numbers(model, plan.args):
            model.fit(
                plan.batches.dataset,
                steps_per_epoch=plan.length.batches_per_epoch,
                epochs=plan.length.epochs,
                callbacks=callbacks,
                shuffle=False,  # The pipeline shuffles.
                verbose=0 if plan.args.disable_tqdm else "auto",
            )
    except BaseException:
        session = running_session(model)
        if session is not None:
            session.interrupt()  # Keras tells callbacks nothing of an exception.
        raise


def training_output(totals: TrainingTotals, began: float) -> TrainOutput:
    """What ``train`` returns.

    Args:
        totals: The fit.
        began: When it began, by ``time.time()``.
    """
    from transformers.trainer_utils import TrainOutput, speed_metrics

    metrics = speed_metrics("train", began, num_samples=totals.samples, num_steps=totals.steps)
    metrics["train_loss"] = totals.loss
    return TrainOutput(totals.step, totals.loss, metrics)
