"""What writes the entries of a training for one dashboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tf_hfwb.dashboards.log_entries import Entry, Row


@dataclass(frozen=True)
class Training:
    """A training that begins or is resumed.

    Attributes:
        step: The global step at which it begins.
        name: The name of its run; None where nobody has chosen one.
        resumed: What :attr:`EntryWriter.identity` was when the checkpoint was written; empty in a training that is not
            resumed, or was not written there before.
        rows: The rows up to that step, for a place that has none of them.
    """

    step: int
    name: str | None = None
    resumed: Mapping[str, str] = field(default_factory=dict)
    rows: Iterable[Row] = ()


class EntryWriter(Protocol):
    """Writes entries where a dashboard finds them. One thread at a time uses it."""

    @property
    def title(self) -> str:
        """What the dashboard is called in messages and in ``report_to``."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What finds the place again in another process."""

    @property
    def place(self) -> str:
        """Where the entries are, for a person."""

    def begin(self, training: Training) -> None:
        """A training begins. What it repeats of an earlier process's steps must not be there twice.

        Raises:
            Exception: Its place cannot be used.
        """

    def write(self, entries: Sequence[Entry]) -> None:
        """Write entries, in order, so that another process can read them.

        Raises:
            Exception: They could not be written. They may be given again.
        """

    def close(self, exit_code: int) -> None:
        """The training has ended. More may be written later: an evaluation, or another training.

        Args:
            exit_code: 0 where it has ended as it should.
        """
