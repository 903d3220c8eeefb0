"""Rows are kept in a file of our own once the client's service has failed (:mod:`tf_hfwb.tracking.lost_rows_file`)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from tf_hfwb.tracking import wandb_private
from tf_hfwb.tracking.lost_rows_file import RescueFile
from tf_hfwb.tracking.row_log import RowLog
from tf_hfwb.tracking.run_facts import RunFacts

_logger = logging.getLogger("tf_hfwb")


class RowRescue:
    """Keeps the rows of one run that its client cannot take.

    Args:
        facts: The run.
        history: The numbers of every row so far; the tracker adds to it.

    Attributes:
        reason: Why rows are rescued; empty as long as they are not.
        file: Where they are kept; None as long as they are not.
        is_run_ending: Whether the run ends, and its end is going to say what was rescued.
    """

    def __init__(self, facts: RunFacts, history: RowLog) -> None:
        self.reason = ""
        self.file: RescueFile | None = None
        self.is_run_ending = False
        self._facts = facts
        self._history = history
        self._summary: dict[str, Any] = {}

    @property
    def is_active(self) -> bool:
        """Whether the client's service has failed, and rows go into the file."""
        return self.file is not None

    def begin(self, reason: str) -> None:
        """From now on keep rows in the file, with all those before. Only the first call counts."""
        if self.is_active or self._facts.directory is None:
            return
        file = self.open_file(reason, self._history)
        is_kept = file.write()
        wandb_private.stop_console(self._facts.run)
        if not self.is_run_ending:
            _logger.warning(
                "W&B's client has failed: %s. Training goes on; %s.",
                reason,
                f"rows are kept in {file.path}" if is_kept else f"rows cannot be kept on disk either: {file.error}",
            )

    def open_file(self, reason: str, rows: Iterable[str]) -> RescueFile:
        """The file, with these rows and the summary so far, to be written."""
        self.reason = reason
        self.file = RescueFile(self._facts.directory or "")
        self.file.add_rows(rows)
        self.file.add(summary=self._summary)
        return self.file

    def add_row(self, row: str) -> None:
        """Keep a row, if rows are rescued."""
        if self.file is not None:
            self.file.add_rows([row])

    def add_summary(self, values: Mapping[str, Any]) -> None:
        """Remember values of the summary, and keep them if rows are rescued."""
        self._summary.update(values)
        if self.file is not None:
            self.file.add(summary=dict(values))

    def write(self) -> None:
        """Write what was added since the last time."""
        if self.file is not None:
            self.file.write()

    def note_exit_code(self, exit_code: int) -> None:
        """Write with which code the run ended, where the client's log lacks nothing but that."""
        file = RescueFile(self._facts.directory or "")
        file.add(exit_code=exit_code)
        file.write()
