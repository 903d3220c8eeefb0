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
        known = [(kind, other) for other in others if (kind := _kind_of(other))]
        self._callbacks = {f"{kind}-{index}": other for index, (kind, other) in enumerate(known)}
        self._waiting: Mapping[str, Mapping[str, Any]] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Take part in the checkpoints."""
        super().on_train_begin(logs)
        self._session.participants.add(self)

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Keep the counts until every callback has begun, and forgotten its own."""
        self._waiting = {name: counts for name, counts in state.items() if self._watches_the_same(name, counts)}
        if self._session.resumption is not None:
            gone = [f"Keras's {name}" for name in state if name not in self._waiting]
            warn_of_dropped(gone, self._session.resumption.source)

    def _watches_the_same(self, name: str, counts: Mapping[str, Any]) -> bool:
        callback = self._callbacks.get(name)
        return callback is not None and counts.get("monitor", callback.monitor) == callback.monitor

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Put back what was counted: every callback has begun by now."""
        super().on_epoch_begin(epoch, logs)
        for name, counts in self._waiting.items():
            for attribute in _counts_of(name):
                if attribute in counts:
                    setattr(self._callbacks[name], attribute, counts[attribute])
        self._waiting = {}

    def capture_state(self) -> CaptureState:
        """What each of them has counted."""
        states: dict[str, dict[str, Any]] = {}
        for name, callback in self._callbacks.items():
            counts = [attribute for attribute in _counts_of(name) if hasattr(callback, attribute)]
            states[name] = {attribute: to_float(getattr(callback, attribute)) for attribute in counts}
            states[name]["monitor"] = callback.monitor
        return lambda: states


def _counts_of(name: str) -> tuple[str, ...]:
    return _COUNTS[name.rpartition("-")[0]]


def _kind_of(callback: Any) -> str | None:
    """Which of Keras's classes a callback is of, or of a subclass of which; None for all others."""
    for base in type(callback).__mro__:
        if base.__name__ in _COUNTS and base.__module__.partition(".")[0] in ("keras", "tf_keras"):
            return base.__name__
    return None
