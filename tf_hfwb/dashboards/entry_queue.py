"""Hands what a training logs to the writers of dashboards, none of whose failures stops the training.

What a writer could not write is tried again with what follows. A full disk or a locked database is reported once when
it begins; what is lost in the end is counted and reported, too.
"""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tf_hfwb.dashboards.entry_writer import EntryWriter, Training
from tf_hfwb.dashboards.log_entries import Entry, Row
from tf_hfwb.secret_masking import mask_text

# Entries that wait for a writer that fails; older ones are given up.
MAX_WAITING = 10_000

_logger = logging.getLogger("tf_hfwb")


@dataclass
class _Outlet:
    """A writer, and what waits for it."""

    writer: EntryWriter
    waiting: collections.deque[Entry] = field(default_factory=collections.deque)
    training: Training | None = None  # One that has begun and that the writer has not taken yet.
    lost: int = 0
    has_failed: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)


class EntryQueue:
    """The dashboards of a training. Any thread may use it.

    Args:
        writers: One for each dashboard.
    """

    def __init__(self, writers: Sequence[EntryWriter] = ()) -> None:
        self._outlets = [_Outlet(writer) for writer in writers]

    @classmethod
    def of(cls, queues: Iterable[EntryQueue]) -> EntryQueue:
        """The dashboards of several together."""
        joined = cls()
        joined._outlets = [outlet for queue in queues for outlet in queue._outlets]
        return joined

    def __bool__(self) -> bool:
        return bool(self._outlets)

    @property
    def identities(self) -> dict[str, dict[str, str]]:
        """What finds the place of each dashboard again, by its title."""
        return {outlet.writer.title: dict(outlet.writer.identity) for outlet in self._outlets}

    @property
    def places(self) -> dict[str, str]:
        """Where the entries are, for a person, by the title of the dashboard."""
        return {outlet.writer.title: outlet.writer.place for outlet in self._outlets}

    def begin(
        self,
        step: int,
        name: str | None,
        resumed: Mapping[str, Mapping[str, str]] | None = None,
        rows: Iterable[Row] = (),
    ) -> None:
        """A training begins.

        Args:
            step: The global step.
            name: The name of its run, if it has one.
            resumed: :attr:`identities` as a checkpoint has them.
            rows: The rows before that step.
        """
        self.flush()
        for outlet in self._outlets:
            with outlet.lock:
                outlet.training = Training(step, name, (resumed or {}).get(outlet.writer.title, {}), rows)

    def add(self, entry: Entry) -> None:
        """Add an entry; the next :meth:`flush` writes it."""
        for outlet in self._outlets:
            with outlet.lock:
                outlet.waiting.append(entry)
                if len(outlet.waiting) > MAX_WAITING:
                    outlet.waiting.popleft()
                    outlet.lost += 1

    def flush(self) -> None:
        """Write what waits."""
        for outlet in self._outlets:
            with outlet.lock:
                if outlet.waiting:
                    _try(outlet, _write)

    def close(self, exit_code: int = 0) -> None:
        """The training has ended: write what waits, and say what could not be written."""
        self.flush()
        for outlet in self._outlets:
            with outlet.lock:
                _try(outlet, lambda outlet: outlet.writer.close(exit_code))
                count = outlet.lost + len(outlet.waiting)
                outlet.waiting.clear()
                outlet.lost = 0
                if count:
                    _logger.warning("%d entries could not be written for %s.", count, outlet.writer.title)


def _try(outlet: _Outlet, action: Callable[[_Outlet], None]) -> None:
    try:
        action(outlet)
    except Exception as error:
        if not outlet.has_failed:
            outlet.has_failed = True
            _logger.warning(
                "Writing for %s failed (%s: %s). Training continues. It is tried again with each row; what could not "
                "be written is counted and reported at the end.",
                outlet.writer.title,
                type(error).__name__,
                mask_text(str(error)),
            )


def _write(outlet: _Outlet) -> None:
    if outlet.training is not None:
        outlet.writer.begin(outlet.training)
        outlet.training = None
    outlet.writer.write(tuple(outlet.waiting))
    outlet.waiting.clear()
