"""What happens to the model at the end of a fit, in whichever order the callbacks stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class TrainingEnd:
    """First the last step is saved. Then the model gets the weights that it is to have.

    The step is saved before Keras lets the optimizer finalize the weights: what goes on from there must not begin with
    their averages. Callbacks that do either, or that look at the result, call :meth:`reach` from ``on_train_end``. The
    first call does it for all.

    Attributes:
        restored: What is known of the weights that a callback has put into the model (``global_step``, ``epoch``,
            ``metrics``); None when it keeps its last ones.
        notes: What callbacks want the model artifact to say, by name.
    """

    def __init__(self) -> None:
        self.restored: dict[str, Any] | None = None
        self.notes: dict[str, Any] = {}
        self._savers: list[Callable[[], None]] = []
        self._restorers: list[Callable[[], dict[str, Any] | None]] = []

    def save_by(self, save: Callable[[], None]) -> None:
        """Call ``save`` while the model has its last weights."""
        self._savers.append(save)

    def restore_by(self, restore: Callable[[], dict[str, Any] | None]) -> None:
        """Call ``restore`` after that. It may put other weights into the model, and returns what is known of these."""
        self._restorers.append(restore)

    def save(self) -> None:
        """The last step has ended."""
        savers, self._savers = self._savers, []
        for save in savers:
            save()

    def reach(self) -> None:
        """Training has ended."""
        self.save()
        restorers, self._restorers = self._restorers, []
        for restore in restorers:
            self.restored = restore() or self.restored
