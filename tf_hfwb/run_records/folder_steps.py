"""How the rows of a resumed run's folders follow each other.

Offline, the client knows nothing of earlier folders and counts its rows from 0 again; ``wandb sync`` appends them, and
so does this. Online, it continues where the server was; rows that only the log of the killed process has are replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FolderSteps:
    """The numbers of the rows in one folder.

    Attributes:
        is_offline: Whether the client was offline.
        first: The first ``_step``; None without rows.
        last: The last one.
        further: How many rows follow that are not in the log.
    """

    is_offline: bool
    first: int | None
    last: int | None
    further: int = 0


def arrange(folders: Sequence[FolderSteps]) -> list[tuple[int, float]]:
    """What is added to the steps of each folder, and the step before which it then ends.

    Args:
        folders: The folders, oldest first.

    Example:
        >>> arrange([FolderSteps(True, 0, 9), FolderSteps(True, 0, 4)])
        [(0, 10), (10, inf)]
        >>> arrange([FolderSteps(False, 0, 9), FolderSteps(False, 8, 12)])
        [(0, 8), (0, inf)]
    """
    shifts, last = [], -1
    for folder in folders:
        first = 0 if folder.first is None else folder.first
        shifts.append(last + 1 - first if folder.is_offline and first <= last else 0)
        newest = folder.last if folder.last is not None else first - 1
        last = max(last, newest + shifts[-1]) + folder.further
    ends: list[float] = []
    end = float("inf")
    for folder, shift in zip(reversed(folders), reversed(shifts), strict=True):
        ends.append(end)
        if folder.first is not None:
            end = min(end, folder.first + shift)
    return list(zip(shifts, reversed(ends), strict=True))
