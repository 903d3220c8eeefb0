"""The hooks of an evaluation or a prediction that a trainer runs, for the user's callbacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tf_hfwb.keras_compat.callback_base import Callback, Logs
from tf_hfwb.keras_compat.common_private import is_default


class PassHooks:
    """Calls ``on_test_...`` or ``on_predict_...`` of callbacks, as ``model.evaluate`` and ``model.predict`` do.

    Args:
        callbacks: Keras callbacks.
        kind: ``"test"`` or ``"predict"``.
    """

    def __init__(self, callbacks: Sequence[Any] = (), kind: str = "test") -> None:
        self._callbacks = [*callbacks]
        self.kind = kind

    def begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """The pass begins."""
        self._call("begin", logs)

    def end(self, logs: Mapping[str, Any] | None = None) -> None:
        """It has ended."""
        self._call("end", logs)

    def batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """A batch begins."""
        self._call("batch_begin", batch, logs)

    def batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """It has ended."""
        self._call("batch_end", batch, logs)

    def _call(self, event: str, *values: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, f"on_{self.kind}_{event}")(*values)

    def as_callbacks(self) -> list[Callback]:
        """Callbacks for ``model.evaluate``, which would set other parameters on the user's callbacks themselves."""
        events = [f"on_{self.kind}_batch_{event}" for event in ("begin", "end")]
        hooks = [getattr(callback, event) for callback in self._callbacks for event in events]
        # With any hook, even one that does nothing, every batch would wait for its numbers.
        are_called = not all(map(is_default, hooks))
        return [_RelayOfBatches(self) if are_called else _Relay(self)] if self._callbacks else []


class _Relay(Callback):
    def __init__(self, hooks: PassHooks) -> None:
        super().__init__()
        self._hooks = hooks

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._hooks.begin(logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._hooks.end(logs)


class _RelayOfBatches(_Relay):
    async_safe = False
    _supports_tf_logs = False  # The user's callbacks expect numbers.

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._hooks.batch_begin(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._hooks.batch_end(batch, logs)
