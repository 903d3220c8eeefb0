"""What a run record asks of the place where the run is."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from typing import Any


class RecordSource(abc.ABC):
    """The place where a run is: folders on this machine, or the server."""

    @abc.abstractmethod
    def rows(self, containing: str = "") -> Iterator[dict[str, Any]]:
        """The rows of the history, in order, each ``_step`` once.

        Args:
            containing: Rows without this text in their JSON may be left out.
        """

    @abc.abstractmethod
    def system_rows(self) -> Iterator[dict[str, float]]:
        """The machine's metrics, in order."""

    @abc.abstractmethod
    def find_file(self, value: Mapping[str, Any]) -> str | None:
        """The file on this machine that a value of a row, such as a table or an image, stands for; None without it."""

    def warn_of_missing_end(self) -> None:  # noqa: B027 - of a run on the server nothing is missing
        """Warn if it is known, without reading the rows, that the last of them are missing."""
