"""The event of each batch of an evaluation or a prediction."""

from __future__ import annotations

from tf_hfwb.keras_compat import Callback, Logs
from tf_hfwb.trainer.trainer_events.event_dispatch import TrainerEvents


class PredictionSteps(Callback):
    """Calls ``on_prediction_step`` when a batch was evaluated or predicted.

    Args:
        events: Calls it.
    """

    async_safe = False

    def __init__(self, events: TrainerEvents) -> None:
        super().__init__()
        self._events = events

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A batch was evaluated."""
        self._events.call("on_prediction_step")

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A batch was predicted."""
        self._events.call("on_prediction_step")
