"""``trainer.state``: what a trainer has measured, and how far its model is, as transformers' ``TrainerState``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_hfwb.fit.between_fits import memory_of
from tf_hfwb.fit.fit_session import running_session
from tf_hfwb.fit.step_clock import step_reached
from tf_hfwb.keras_compat import host_of
from tf_hfwb.trainer.training_plan import TrainingPlan


def new_state(plan: TrainingPlan | None = None) -> Any:
    """The state of a trainer.

    Args:
        plan: The training that begins; None before the first one.
    """
    from transformers.trainer_callback import TrainerState

    if plan is None:
        return TrainerState()
    return TrainerState(
        epoch=plan.length.start.epoch,
        global_step=plan.length.start.step,
        max_steps=plan.length.steps,
        num_train_epochs=plan.length.epochs,
        train_batch_size=plan.args.per_device_train_batch_size,
    )


def note_metrics(state: Any, metrics: Mapping[str, Any], model: Any, *, is_training: bool) -> dict[str, Any]:
    """Put metrics into the history of the state, with the step and the epoch of the model.

    Args:
        state: The state.
        metrics: What was measured.
        model: The model, as it is.
        is_training: Whether a ``fit`` of it is under way.

    Returns:
        The metrics with ``epoch``, if the model was trained.
    """
    session = running_session(model) if is_training else None
    if session is None:
        step, epoch = step_reached(host_of(model), 0), memory_of(model).epoch
    else:
        step, epoch = session.schedule.position()
    if epoch is not None:
        state.epoch = epoch
        metrics = {**metrics, "epoch": epoch}
    state.global_step = step
    # Numbers only: the history is written as JSON.
    numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
    state.log_history.append({**numbers, "step": step})
    return dict(metrics)
