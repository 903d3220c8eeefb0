"""The end of a run: within a limit, with the right exit code, and with an account of what W&B does not have.

The limit counts from the first time that somebody waited for W&B in vain. What is not uploaded by then stays on disk,
and the last line says how to upload it.
"""

from __future__ import annotations

import functools
import logging
import os
import shlex
import time

from tf_hfwb.tracking import wandb_private
from tf_hfwb.tracking.lost_rows import RowRescue
from tf_hfwb.tracking.pending_uploads import Uploads, describe_upload
from tf_hfwb.tracking.row_log import RowLog, parse_row
from tf_hfwb.tracking.run_facts import RunFacts
from tf_hfwb.tracking.run_history import LoggedRows, is_whole, logged_rows, rows_on_server, unwritten_part
from tf_hfwb.tracking.service_watchdog import Watchdog

# Seconds that the end of a run that we open waits for its uploads, unless WANDB_FINISH_TIMEOUT says otherwise.
FINISH_TIMEOUT = 1800.0
# Seconds for what follows the last upload, such as linking it to the registry.
_FOLLOW_UP_TIMEOUT = 60.0
# Seconds for the client's service to answer a question: on this machine, without a server.
ANSWER_TIMEOUT = 30.0
# Seconds for what the end does without a server, also when its limit has passed.
_LOCAL_TIMEOUT = 3.0

_logger = logging.getLogger("tf_hfwb")


class RunEnd:
    """Ends one run.

    Args:
        facts: The run.
        owned: Whether we opened it: only then does its end have a limit when the settings have none.
        history: The numbers of every row so far; the tracker adds to it.
        uploads: The artifacts that the server has not confirmed yet.
        rescue: Where rows go when the client's service has failed.

    Attributes:
        is_under_way: Whether :meth:`finish` was called.
    """

    def __init__(self, facts: RunFacts, history: RowLog, uploads: Uploads, rescue: RowRescue, *, owned: bool) -> None:
        self.is_under_way = False
        self._facts = facts
        self._owned = owned
        self._history = history
        self._uploads = uploads
        self._rescue = rescue
        self._watchdog = Watchdog()
        self._deadline: float | None = None  # Set when somebody has waited in vain.

    def start(self) -> None:
        """Start the thread that keeps the limit; none can be started when the interpreter ends."""
        self._watchdog.start()

    def close(self) -> None:
        """End that thread."""
        self._watchdog.close()

    def time_left(self) -> float:
        """Seconds until nobody is to wait for W&B any more; they count from the first call."""
        if self._deadline is None:
            self._deadline = time.monotonic() + (self._facts.finish_timeout or FINISH_TIMEOUT)
        return max(0.0, self._deadline - time.monotonic())

    def reset_deadline(self) -> None:
        """Nobody waits any more: the seconds count anew from the next call of :meth:`time_left`."""
        self._deadline = None

    def finish(self, exit_code: int) -> None:
        """Finish the run, wait for its uploads, and say what is missing."""
        self.is_under_way = self._rescue.is_run_ending = True
        has_limit = self._owned or bool(self._facts.finish_timeout)
        limit = max(_LOCAL_TIMEOUT, self.time_left()) if has_limit else None
        self._check_service(limit)
        is_complete = self._finish_run(exit_code, limit)
        if self._facts.directory is None:
            return
        missing = "" if self._facts.is_offline else self._wait_for_uploads(is_complete)
        is_uploaded = is_complete and not self._facts.is_offline
        has_lost_rows = self.report_lost_rows(exit_code, is_uploaded=is_uploaded, missing=missing)
        if missing and not has_lost_rows:
            _logger.warning("Not uploaded: %s. Nothing is lost, it is on disk. %s", missing, self.advice())

    def _check_service(self, limit: float | None) -> None:
        """Rescue rows from a service that does not answer, and end it: it may hang, and the client waits for it."""
        run = self._facts.run
        timeout = ANSWER_TIMEOUT if limit is None else min(ANSWER_TIMEOUT, limit)
        if not self._rescue.is_active and not wandb_private.service_answers(run, timeout):
            self._rescue.begin("its service does not answer")
        if self._rescue.is_active:
            wandb_private.kill_service(run)

    def _finish_run(self, exit_code: int, limit: float | None) -> bool:
        """Whether the client has finished the run within the limit."""
        run = self._facts.run
        patience = None if limit is None else limit + _LOCAL_TIMEOUT
        try:
            with self._watchdog.watching(patience, functools.partial(wandb_private.kill_service, run)):
                run.finish(exit_code=exit_code)
            return True
        except TimeoutError:
            _logger.warning("W&B has not taken everything within %.0f s.", self._facts.finish_timeout)
        except Exception as error:
            if wandb_private.is_service_failure(error):
                wandb_private.forget_run(run)
            if not self._rescue.is_active:
                _logger.warning("Finishing the W&B run failed (%s: %s).", type(error).__name__, error)
        return False

    def _wait_for_uploads(self, is_complete: bool) -> str:
        """Names what the server does not have in the end; empty if it has everything."""
        self._uploads.flush(min(_FOLLOW_UP_TIMEOUT, max(1.0, self.time_left())) if is_complete else 1.0)
        missing = ", ".join(map(describe_upload, self._uploads.missing()))
        if not missing and not is_complete:
            return "the end of the run"
        return missing

    def report_lost_rows(self, exit_code: int, *, is_uploaded: bool = False, missing: str = "") -> bool:
        """Say it if rows did not get into the client's log: the client itself says nothing.

        Args:
            exit_code: How the run ended.
            is_uploaded: Whether the client says that the server has the run's rows.
            missing: What is not uploaded, to be said with it.

        Returns:
            Whether rows are lacking.
        """
        directory, rescue = self._facts.directory, self._rescue
        if directory is None or (not rescue.is_active and is_whole(directory)):
            return False
        lost = self._rows_lost(directory, is_uploaded)
        if not lost and rescue.is_active and is_whole(directory):
            return False
        if not rescue.is_active and not lost:
            rescue.note_exit_code(exit_code)  # Only the end is lacking, which sync is to know.
            return False
        file = rescue.file or rescue.open_file("its log ends too early, as on a full disk", lost)
        file.add(exit_code=exit_code)
        if file.write():
            place = f"which are in {file.path}."
        else:
            place = (
                f"which tf_hfwb could not write either: {file.error}. A checkpoint holds those up to its step, as "
                "log_history in trainer_state.json and in the files beside it."
            )
        _logger.warning(
            "W&B's client has failed: %s. Its log %s lacks %d of %d rows, %s%s %s",
            rescue.reason,
            directory,
            len(lost),
            len(self._history),
            place,
            f" Not uploaded: {missing}." if missing else "",
            self.advice(),
        )
        return True

    def _rows_lost(self, directory: str, is_uploaded: bool) -> list[str]:
        run = self._facts.run
        held = (rows_on_server(run.path) if is_uploaded else None) or LoggedRows()
        held.merge(logged_rows(run.id, os.path.dirname(directory)))
        return [row for row in self._history if unwritten_part(parse_row(row), held.names)]

    def advice(self) -> str:
        """The command that uploads what is on disk, in a sentence."""
        paths = list(self._facts.folders)
        file = self._rescue.file
        if file is not None and file.path is not None and os.path.dirname(file.path) != self._facts.directory:
            paths.append(file.path)
        return f"Upload what there is with: {shlex.join(['tf-hfwb', 'sync', *paths])}"
