"""A callback base class for both Kerases.

tf_keras and Keras 3 never test the class of a callback: they call its methods and read a few attributes. This base
class offers what both need and derives from neither. So one instance works in either, and importing it imports neither.

What is needed, and by whom:

* tf_keras's ``CallbackList`` calls ``_implements_{train,test,predict}_batch_hooks()`` and reads ``_supports_tf_logs``
  (tensors instead of numbers in ``logs``; one callback without it makes every step of the fit synchronise).
* Keras 3's ``CallbackList`` reads ``async_safe``; when every callback with an ``on_..._batch_end`` hook has it, these
  hooks run on a thread pool, in any order, and the training thread never waits for the numbers in ``logs``.
* Both skip batch hooks that carry ``_is_default``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tf_hfwb.keras_compat.common_private import is_default, mark_as_default

if TYPE_CHECKING:
    from typing_extensions import Self

Logs = Mapping[str, Any]


class Callback:
    """Base class of this package's callbacks, for models of tf_keras and of Keras 3.

    Hooks have the names, arguments and meaning of ``keras.callbacks.Callback``.

    Example:
        >>> class Counter(Callback):
        ...     epochs = 0
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         self.epochs += 1
        >>> Counter()._implements_train_batch_hooks()
        False
    """

    async_safe = True
    _supports_tf_logs = True
    _chief_worker_only = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember the arguments of the callback, for copies."""
        made = super().__new__(cls)
        made._made_with = args, kwargs
        return made

    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}
        self.validation_data: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A new callback with the same arguments.

        KerasTuner copies the callbacks for each of its trials. Threads and locks cannot be copied, and what a callback
        has seen of one fit means nothing in another. The arguments are shared, because data may be large and is not
        changed.
        """
        args, kwargs = self._made_with
        return type(self)(*args, **kwargs)

    def set_params(self, params: dict[str, Any]) -> None:
        """Receive the parameters of the running ``fit``: ``epochs``, ``steps``, ``verbose``."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Receive the model that is trained, evaluated or used."""
        self.model = model

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """``fit`` begins."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """``fit`` ends without an exception."""

    def on_train_interrupted(self) -> None:
        """An exception has ended ``fit``. Called by ``TFTrainer`` at once, else when the model's next fit begins."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch begins."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch and its validation have ended."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """An evaluation begins."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """An evaluation ends."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """A prediction begins."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """A prediction ends."""

    @mark_as_default
    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """The old name of ``on_train_batch_begin``."""

    @mark_as_default
    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """The old name of ``on_train_batch_end``."""

    @mark_as_default
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A training step begins."""

    @mark_as_default
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A training step has ended; under ``steps_per_execution=k`` called once for k steps."""

    @mark_as_default
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """An evaluation step begins."""

    @mark_as_default
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """An evaluation step has ended."""

    @mark_as_default
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A prediction step begins."""

    @mark_as_default
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A prediction step has ended."""

    def _implements_train_batch_hooks(self) -> bool:
        hooks = (self.on_train_batch_begin, self.on_train_batch_end, self.on_batch_begin, self.on_batch_end)
        return not all(map(is_default, hooks))

    def _implements_test_batch_hooks(self) -> bool:
        return not (is_default(self.on_test_batch_begin) and is_default(self.on_test_batch_end))

    def _implements_predict_batch_hooks(self) -> bool:
        return not (is_default(self.on_predict_batch_begin) and is_default(self.on_predict_batch_end))
