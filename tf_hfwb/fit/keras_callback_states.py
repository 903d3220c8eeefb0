"""The state of Keras's own callbacks, which Keras starts anew with every fit."""

from __future__ import annotations

from collections.abc import Callable as Function
from collections.abc import Sequence
from typing import Any

from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.keras_compat import Callback, Logs, to_float
from tf_hfwb.resume.resume_position import warn_of_dropped

# What each of them counts. Weights that EarlyStopping(restore_best_weights=True) holds are not among it.
_COUNTS = {
    "EarlyStopping": ("wait", "best", "best_epoch", "stopped_epoch"),
    "ReduceLROnPlateau": ("wait", "best", "cooldown_counter"),
}


class GuestStates(StepCallback):
    """Keeps in checkpoints, and puts back, what Keras's callbacks have counted so far.

    Args:
        callbacks: All callbacks of the fit; those that are not Keras's, or count nothing, are left alone.
    """

    def __init__(self, callbacks: Sequence[Any]) -> None:
        super().__init__()
        guests = [callback for callback in callbacks if not isinstance(callback, Callback)]  # Ours do it themselves.
        known = [guest for guest in guests if type(guest).__name__ in _COUNTS]
        self._guests = {f"{type(guest).__name__}-{index}": guest for index, guest in enumerate(known)}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Take part in the checkpoints."""
        super().on_train_begin(logs)
        self._fit.participants["GuestStates"] = self._state
        self._waiting = self._resumed("GuestStates")
        if self._resumption is not None:
            gone = [name for name in self._waiting if name not in self._guests]
            warn_of_dropped([f"Keras's {name}" for name in gone], self._resumption.source)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Put back what was counted: every guest has begun by now, and forgotten it."""
        super().on_epoch_begin(epoch, logs)
        for name, counts in self._waiting.items():
            for attribute, value in counts.items():
                if name in self._guests:
                    setattr(self._guests[name], attribute, value)
        self._waiting = {}

    def _state(self) -> Function[[], dict[str, dict[str, float | None]]]:
        states = {
            name: {
                attribute: to_float(getattr(guest, attribute))
                for attribute in _COUNTS[type(guest).__name__]
                if hasattr(guest, attribute)
            }
            for name, guest in self._guests.items()
        }
        return lambda: states
