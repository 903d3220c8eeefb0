"""The rows that this process has written to a run, in memory that does not grow with rows at regular steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tf_hfwb.tracking.run_history import LoggedRows, global_step, names_in


class Progressions:
    """Whole numbers, of which those at equal distances are kept as one: first, last and distance.

    Example:
        >>> steps = Progressions()
        >>> for step in (10, 20, 30, 5, 6):
        ...     steps.add(step)
        >>> list(steps.since(20))
        [20, 30]
    """

    def __init__(self) -> None:
        self._parts: list[range] = []

    def __len__(self) -> int:
        """How many progressions they make."""
        return len(self._parts)

    def add(self, number: int) -> None:
        """Add a number behind those so far."""
        last = self._parts[-1] if self._parts else range(number, number)
        if len(last) == 1 and number > last[0]:
            self._parts[-1] = range(last[0], number + 1, number - last[0])
        elif len(last) > 1 and number == last[-1] + last.step:
            self._parts[-1] = range(last[0], number + 1, last.step)
        elif not last or number != last[-1]:
            self._parts.append(range(number, number + 1))

    def since(self, first: int) -> Iterator[int]:
        """The numbers from ``first`` on, in the order in which they were added."""
        for part in self._parts:
            skipped = max(0, -(-(first - part[0]) // part.step))
            yield from part[skipped:]


class WrittenRows:
    """The names of what was written at each step."""

    def __init__(self) -> None:
        self._steps: dict[frozenset[str], Progressions] = {}  # By the names of the rows.

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row; one without a step is passed over."""
        step = global_step(row)
        if step is not None:
            self._steps.setdefault(names_in(row), Progressions()).add(step)

    def since(self, step: int) -> LoggedRows:
        """The rows from a step on."""
        found = LoggedRows()
        for names, steps in self._steps.items():
            for number in steps.since(step):
                found.add_names(number, names)
        return found
