"""The state of Keras's own callbacks, which Keras starts anew with every fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.keras_compat import Callback, Logs, to_float
from tf_hfwb.resume.checkpoint_participants import KERAS_CALLBACKS, CaptureState
from tf_hfwb.resume.resume_position import warn_of_dropped

# What each of them counts. Weights that EarlyStopping(restore_best_weights=True) holds are not among it.
_COUNTS = {
    "EarlyStopping": ("wait", "best", "best_epoch", "stopped_epoch"),
    "ReduceLROnPlateau": ("wait", "best", "cooldown_counter"),
}


class KerasCallbackStates(StepCallback):
    """Keeps in checkpoints, and puts back, what Keras's callbacks have counted so far.

    Args:
        callbacks: All callbacks of the fit; those that are not Keras's, or count nothing, are left alone.
    """

    place = CallbackPlace.STATES
    participant_name = KERAS_CALLBACKS

    def __init__(self, callbacks: Sequence[Any]) -> None:
        super().__init__()
        others = [callback for callback in callbacks if not isinstance(callback, Callback)]  # Ours do it themselves.
        known = [other for other in others if type(other).__name__ in _COUNTS]
        self._callbacks = {f"{type(other).__name__}-{index}": other for index, other in enumerate(known)}
        self._waiting: Mapping[str, Mapping[str, Any]] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Take part in the checkpoints."""
        super().on_train_begin(logs)
        self._session.participants.add(self)

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Keep the counts until every callback has begun, and forgotten its own."""
        self._waiting = state
        if self._session.resumption is not None:
            gone = [name for name in state if name not in self._callbacks]
            warn_of_dropped([f"Keras's {name}" for name in gone], self._session.resumption.source)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Put back what was counted: every callback has begun by now."""
        super().on_epoch_begin(epoch, logs)
        for name, counts in self._waiting.items():
            for attribute, value in counts.items():
                if name in self._callbacks:
                    setattr(self._callbacks[name], attribute, value)
        self._waiting = {}

    def capture_state(self) -> CaptureState:
        """What each of them has counted."""
        states = {
            name: {
                attribute: to_float(getattr(callback, attribute))
                for attribute in _COUNTS[type(callback).__name__]
                if hasattr(callback, attribute)
            }
            for name, callback in self._callbacks.items()
        }
        return lambda: states
