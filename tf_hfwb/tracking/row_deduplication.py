"""Rows that a run has already are not written again, and rows that a killed process lost are added.

A resumed training repeats steps from its checkpoint on. The run has their rows as far as the process before wrote them:
the server tells which, or offline the client's logs on this machine. Only what may be repeated is read of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from tf_hfwb.tracking.recent_rows import newest_increment, recent_rows, recent_rows_on_server
from tf_hfwb.tracking.row_log import parse_row
from tf_hfwb.tracking.run_facts import RunFacts
from tf_hfwb.tracking.run_history import STEP, LoggedRows, run_folders, unwritten_part
from tf_hfwb.tracking.written_rows import WrittenRows


class RowDeduplication:
    """Knows which rows one run has.

    Args:
        facts: The run.

    Attributes:
        already_logged: The rows that are not to be written again; none until :meth:`read_history`.
    """

    def __init__(self, facts: RunFacts) -> None:
        self.already_logged = LoggedRows()
        self._facts = facts
        self._logged_here = WrittenRows()
        self._logged_before: LoggedRows | None = None
        self._read_from = 0  # The step from which on that is read.
        self._server_answered = False
        self._lock = threading.Lock()

    def add(self, row: Mapping[str, Any]) -> None:
        """Note a row that this process has written; on any thread."""
        with self._lock:
            self._logged_here.add(row)

    def read_history(self, from_step: int = 0) -> None:
        """From here on know the rows that the run has: of earlier processes by their logs, of this one by memory.

        Args:
            from_step: The global step from which on rows may be repeated.
        """
        directory = self._facts.directory
        if directory is not None and (self._logged_before is None or from_step < self._read_from):
            self._logged_before, self._read_from = self._read_earlier(directory, from_step), from_step
        self.already_logged = self._logged_since(from_step)

    def _logged_since(self, step: int) -> LoggedRows:
        known = LoggedRows()
        with self._lock:
            here = self._logged_here.since(step)
        for part in (self._logged_before or LoggedRows(), here):
            known.merge(part)
        return known

    def _read_earlier(self, directory: str, from_step: int) -> LoggedRows:
        run = self._facts.run
        on_server = None if self._facts.is_offline else recent_rows_on_server(run.path, from_step)
        self._server_answered = on_server is not None
        found = on_server or LoggedRows()
        # What is on this machine of online runs has arrived there, or not at all.
        only_offline = self._server_answered
        folder = os.path.dirname(directory)
        found.merge(recent_rows(run.id, folder, from_step, skip=directory, only_offline=only_offline))
        if not self._server_answered and not found.first_step and found.names:
            found.first_step = min(found.names)  # Those before it are elsewhere: logs have no gap at their beginning.
        return found

    def newest_increment(self, key: str) -> Mapping[str, Any] | None:
        """The newest increment of a growing table that an earlier process has logged, as the history says it."""
        known = self.already_logged.increments
        directory = self._facts.directory
        if key not in known and self._read_from and directory is not None:
            run = self._facts.run
            path = run.path if self._server_answered else None
            found = newest_increment(key, path, run.id, os.path.dirname(directory), directory)
            if found is not None:
                known[key] = found
        return known.get(key)

    def lost_rows(self, newest_first: Iterable[list[str]]) -> list[dict[str, Any]]:
        """Those of a checkpoint's rows that did not get into the run; to be called after :meth:`read_history`.

        None, if the run is new, or if the rows are elsewhere: offline, when this machine has no log of the run.

        Args:
            newest_first: The rows in groups, the newest group first, each row a line of JSON.
        """
        if not self._was_resumed():
            return []
        first = 0 if self._logged_before is None else self._logged_before.first_step
        names = self._logged_since(first).names
        lost: list[dict[str, Any]] = []
        for lines in newest_first:
            rows = [row for row in map(parse_row, lines) if row.get(STEP, -1) >= first]
            lost[:0] = [row for row in rows if unwritten_part(row, names)]
            if not rows:  # All those before are known, or elsewhere, too.
                break
        return lost

    def _was_resumed(self) -> bool:
        directory = self._facts.directory
        if directory is None:
            return False
        if self._server_answered:
            return bool(self._facts.run.resumed)
        return bool(run_folders(self._facts.run.id, os.path.dirname(directory), skip=directory))
