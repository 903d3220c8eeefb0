"""What is remembered of a model between its fits."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from tf_hfwb.keras_compat import Host

if TYPE_CHECKING:
    from tf_hfwb.fit.fit_session import FitSession


class ModelMemory:
    """How far a model has been trained, and its newest fit.

    ``compile`` gives a model an optimizer whose counter begins at 0, but the global step continues. And a model may be
    trained without our callbacks in between. So the counter is remembered beside the step.

    Attributes:
        epoch: The epoch that the last fit with a logger has reached, with its fraction; None without one.
        session: The newest fit, as long as a callback of it is there.
    """

    def __init__(self) -> None:
        self.epoch: float | None = None
        self.session: weakref.ref[FitSession] | None = None
        self._step = 0
        self._counter = 0
        self._optimizer: weakref.ref[Any] | None = None
        self._starts_over = False

    def remember(self, optimizer: Any, step: int, counter: int) -> None:
        """A fit has ended.

        Args:
            optimizer: The optimizer with which it has begun; None without one.
            step: The global step that it has reached.
            counter: What the optimizer's counter is at then. It is not asked for: that would wait for the device.
        """
        self._step, self._counter, self._starts_over = step, counter, False
        self._optimizer = None if optimizer is None else weakref.ref(optimizer)

    def step_by(self, host: Host, counter: int) -> int:
        """The global step that the model has reached, with updates that nobody has told us of.

        Args:
            host: The model.
            counter: The optimizer's counter as of now.
        """
        if self._starts_over:
            return 0
        is_same = self._optimizer is not None and self._optimizer() is host.optimizer
        before = self._counter if is_same else 0
        unseen = counter // host.accumulation_steps - before // host.accumulation_steps
        return self._step + max(0, unseen)

    def start_over(self) -> None:
        """Let the next fit begin at step 0, whatever the model, or its next optimizer, was trained on before."""
        self._starts_over = True
        self.epoch = None


_memories: weakref.WeakKeyDictionary[Any, ModelMemory] = weakref.WeakKeyDictionary()


def memory_of(model: Any) -> ModelMemory:
    """What is remembered of a model; kept as long as the model."""
    return _memories.setdefault(model, ModelMemory())
