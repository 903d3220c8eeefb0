"""Rows that a run has already are not written again, and rows that a killed process lost are added.

A resumed training repeats steps from its checkpoint on. The run has their rows as far as the process before wrote them:
the server tells which, or offline the client's logs on this machine.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from typing import Any

from tf_hfwb.tracking.run_facts import RunFacts
from tf_hfwb.tracking.run_history import LoggedRows, logged_rows, rows_on_server, run_folders, unwritten_part


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
        self._logged_here = LoggedRows()
        self._logged_before: LoggedRows | None = None
        self._server_answered = False
        self._lock = threading.Lock()

    def add(self, row: Mapping[str, Any]) -> None:
        """Note a row that this process has written; on any thread."""
        with self._lock:
            self._logged_here.add(row)

    def read_history(self) -> None:
        """From here on know all rows that the run has: of earlier processes by their logs, of this one by memory."""
        directory = self._facts.directory
        if self._logged_before is None and directory is not None:
            self._logged_before = self._read_earlier(directory)
        known = LoggedRows()
        for part in (self._logged_before or LoggedRows(), self._logged_here):
            known.merge(part)
        self.already_logged = known

    def _read_earlier(self, directory: str) -> LoggedRows:
        run = self._facts.run
        on_server = None if self._facts.is_offline else rows_on_server(run.path)
        self._server_answered = on_server is not None
        found = on_server or LoggedRows()
        # What is on this machine of online runs has arrived there, or not at all.
        only_offline = self._server_answered
        found.merge(logged_rows(run.id, os.path.dirname(directory), skip=directory, only_offline=only_offline))
        return found

    def lost_rows(self, rows: list[str]) -> list[dict[str, Any]]:
        """Those of a checkpoint's rows that did not get into the run; to be called after :meth:`read_history`.

        None, if the run is new, or if the rows are elsewhere: offline, when this machine has no log of the run.

        Args:
            rows: The rows, each a line of JSON.
        """
        if not self._was_resumed():
            return []
        return [row for row in map(json.loads, rows) if unwritten_part(row, self.already_logged.names)]

    def _was_resumed(self) -> bool:
        directory = self._facts.directory
        if directory is None:
            return False
        if self._server_answered:
            return bool(self._facts.run.resumed)
        return bool(set(run_folders(self._facts.run.id, os.path.dirname(directory))) - {directory})
