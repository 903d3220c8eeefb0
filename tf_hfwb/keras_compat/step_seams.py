"""Where a recorder of losses is put into a model, so that it sees every step.

There are three places, all on the one instance: ``train_step`` and ``test_step`` (which of the two is running, and how
many samples it has), ``update_state`` of the loss tracker (the loss), and the ``train_function`` (when steps have
ended, and what they hand out). The first two act while Keras traces the step. They stay until the next ``compile``:
taking them away would mean to trace the model again for the next ``fit``. They add nothing to what is saved with the
model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf_hfwb.keras_compat.accumulation.gradient_accumulation import accumulation_of
from tf_hfwb.keras_compat.loss_recorder import StepRecorder

_MINIMUM_SIZE = 1024


def put_recorder_into(
    model: Any,
    make: Callable[[Any, int, Callable[[], Any] | None], StepRecorder],
    *,
    tracker: Any,
    steps_per_execution: int,
    rate: Callable[[], Any] | None,
) -> StepRecorder:
    """Record the steps of ``model``; a model that is recorded already keeps its recorder.

    Args:
        model: A compiled model.
        make: The class of the recorder.
        tracker: The metric to which the model's Keras gives the loss of each step; None if there is none.
        steps_per_execution: The steps between two looks of a callback.
        rate: Gives the learning rate of the step that was just taken, inside the graph; None if nothing does.
    """
    trackers = _loss_trackers(model, tracker)
    recorder: StepRecorder | None = getattr(model.train_step, "recorder", None)
    is_watched = all(getattr(one.update_state, "recorder", None) is recorder for one in trackers)
    if recorder is None or not is_watched or recorder.size < 2 * steps_per_execution:
        recorder = make(model, max(_MINIMUM_SIZE, 2 * steps_per_execution), rate)
        _wrap_steps(model, recorder, trackers)
    if model.train_function is not None and getattr(model.train_function, "recorder", None) is not recorder:
        _make_train_function(model, recorder)
    return recorder


def _make_train_function(model: Any, recorder: StepRecorder) -> None:
    make = _original_of(model.make_train_function)
    recorder.renew_step("train")
    accumulation = accumulation_of(model)
    if accumulation is None:
        make(force=True)
        function = model.train_function
    else:
        function = accumulation.train_function(make, recorder)
    model.train_function = recorder.watch_function(function)


def _wrap_steps(model: Any, recorder: StepRecorder, trackers: list[Any]) -> None:
    for tracker in trackers:
        tracker.update_state = recorder.watch_tracker(_original_of(tracker.update_state))
    model.train_step = recorder.watch_step(_original_of(model.train_step), "train")
    model.test_step = recorder.watch_step(_original_of(model.test_step), "test")
    model.make_train_function = recorder.watch_maker(_original_of(model.make_train_function))
    model.make_test_function = recorder.watch_test_maker(_original_of(model.make_test_function))
    if model.test_function is not None:  # What was traced before does not record.
        model.make_test_function(force=True)


def trace_again(model: Any) -> None:
    """Forget the traced train function, in the middle of a fit's begin too: the fit's listeners stay."""
    if model.train_function is None:
        return
    recorder: StepRecorder | None = getattr(model.train_step, "recorder", None)
    if recorder is None:
        model.make_train_function(force=True)
    else:
        _make_train_function(model, recorder)


def _loss_trackers(model: Any, tracker: Any) -> list[Any]:
    """The metrics that may receive the loss of a step; which of them does shows when the step is traced."""
    trackers = [] if tracker is None else [tracker]
    for metric in model.metrics:
        if metric.name == "loss" and all(metric is not known for known in trackers):
            trackers.append(metric)
    return trackers


def _original_of(method: Callable[..., Any]) -> Callable[..., Any]:
    return getattr(method, "original", method)
