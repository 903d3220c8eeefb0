"""What helpers of transformers' examples call when they evaluate by themselves: ``trainer.callback_handler``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tf_hfwb.trainer.trainer_events.event_dispatch import TrainerEvents

if TYPE_CHECKING:
    from transformers.trainer_callback import TrainerCallback, TrainerControl


class CallbackHandler:
    """Calls events of transformers' callbacks; the arguments ``args``, ``state`` and ``control`` are the trainer's own.

    Args:
        events: Calls the events.

    Follows ``CallbackHandler`` of transformers.
    """

    def __init__(self, events: TrainerEvents) -> None:
        self._events = events

    @property
    def callbacks(self) -> list[TrainerCallback]:
        """The trainer's callbacks that are transformers'."""
        return self._events.callbacks

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, Any]) -> TrainerControl:
        """An evaluation has ended with these metrics."""
        return self._call("on_evaluate", metrics=metrics)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: dict[str, Any]) -> TrainerControl:
        """A prediction has ended with these metrics."""
        return self._call("on_predict", metrics=metrics)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any]) -> TrainerControl:
        """A row was logged."""
        return self._call("on_log", logs=logs)

    def _call(self, event: str, **more: Any) -> TrainerControl:
        self._events.call(event, **more)
        return self._events.control
