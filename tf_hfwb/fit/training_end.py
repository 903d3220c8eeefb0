"""What happens to the model at the end of a fit, in whichever order the callbacks stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class TrainingEnd:
    """First the last step is saved. Then the model gets the weights that it is to have.

    Callbacks that do either, or that look at the result, call :meth:`reach` from ``on_train_end``. The first call does
    it for all.

    Attributes:
        restored: What is known of the weights that a callback has put into the model (``global_step``, ``epoch``,
            ``metrics``); None when it keeps its last ones.
        notes: What callbacks want the model artifact to say, by name.
    """

    def __init__(self) -> None:
        self.restored: dict[str, Any] | None = None
        self.notes: dict[str, Any] = {}
        self._savers: list[Callable[[Mapping[str, Any]], None]] = []
        self._restorers: list[Callable[[], dict[str, Any] | None]] = []

    def save_by(self, save: Callable[[Mapping[str, Any]], None]) -> None:
        """Call ``save`` with the logs while the model has its last weights."""
        self._savers.append(save)

    def restore_by(self, restore: Callable[[], dict[str, Any] | None]) -> None:
        """Call ``restore`` after that. It may put other weights into the model, and returns what is known of these."""
        self._restorers.append(restore)

    def reach(self, logs: Mapping[str, Any]) -> None:
        """Training has ended."""
        savers, self._savers = self._savers, []
        restorers, self._restorers = self._restorers, []
        for save in savers:
            save(logs)
        for restore in restorers:
            self.restored = restore() or self.restored
