"""The worker threads that write to a run, and an account of what they could not write."""

from __future__ import annotations

import collections
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal

from tf_hfwb.background_worker import Worker
from tf_hfwb.tracking.lost_rows import RowRescue
from tf_hfwb.tracking.row_batching import RowBatch
from tf_hfwb.tracking.wandb_private import is_service_failure, says_that_run_is_finished

# Seconds for the client's service to take a batch of rows: it needs no server for that.
_SEND_TIMEOUT = 30.0

_Kind = Literal["rows", "other entries", "artifacts"]
_logger = logging.getLogger("tf_hfwb")


class RunJobs:
    """Runs jobs in order on two threads: one for rows, one for artifacts, which take longer.

    The first failure of a kind is reported at once, how many there were by :meth:`report_lost`. When the client's
    service fails, rows are rescued instead. When the user has finished the run, that is said once.

    Args:
        run: The W&B run.
        rescue: Where rows go when the client's service has failed.
        after_batch: Called after each batch of jobs that write rows. It must not raise.

    Attributes:
        is_run_finished: Whether the run takes nothing more, as somebody has finished it.
    """

    def __init__(self, run: Any, rescue: RowRescue, after_batch: Callable[[], None]) -> None:
        self.rows = Worker("tf_hfwb-tracking", batch=self._send_together)
        self.artifacts = Worker("tf_hfwb-artifacts")
        self._run = run
        self._rescue = rescue
        self._after_batch = after_batch
        self.is_run_finished = False
        self._lost: collections.Counter[_Kind] = collections.Counter()
        self._told: set[_Kind] = set()
        self._error_of_row: Exception | None = None

    def submit_rows(self, job: Callable[..., Any], *args: Any) -> None:
        """Run a job that writes rows, after all jobs of this kind before it."""
        self.rows.submit(self._run_job, "other entries", "Writing to the W&B run", job, args)

    def submit_artifact(self, what: str, job: Callable[..., Any], *args: Any) -> None:
        """Run a job that logs an artifact; ``what`` begins the report of its failure."""
        self.artifacts.submit(self._run_job, "artifacts", what, job, args)

    @contextlib.contextmanager
    def writing_row(self) -> Iterator[None]:
        """What fails within this is a row, and nothing else that its job does."""
        try:
            yield
        except Exception as error:
            self._error_of_row = error
            raise

    def report_lost(self) -> None:
        """Say how many rows, other entries and artifacts could not be written, once the run has ended."""
        lost, self._lost = self._lost, collections.Counter()
        for kind, count in lost.items():
            _logger.warning("%d %s could not be written to the W&B run.", count, kind)

    def close(self) -> None:
        """End the threads, which start again with the next job, and say what could not be written."""
        self.rows.close(timeout=1.0)
        self.artifacts.close(timeout=1.0)
        self.report_lost()

    def _run_job(self, kind: _Kind, what: str, job: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            job(*args)
        except Exception as error:
            is_row = error is self._error_of_row and kind != "artifacts"
            self._error_of_row = None
            self._handle("rows" if is_row else kind, 1, what, error)

    @contextlib.contextmanager
    def _send_together(self) -> Iterator[None]:
        """Send the rows that the jobs of a batch write in one go."""
        with RowBatch(self._run) as together:
            yield
        self._after_batch()
        if self._rescue.is_active:
            self._rescue.write()
            return
        self.rows.give_way()
        try:
            together.send(_SEND_TIMEOUT)
        except Exception as error:
            self._handle("rows", len(together), "Writing to the W&B run", error)

    def _handle(self, kind: _Kind, count: int, what: str, error: Exception) -> None:
        name = type(error).__name__
        if kind != "artifacts" and is_service_failure(error):
            self._rescue.begin(f"{name}: {error}")
            return
        if says_that_run_is_finished(error):
            self._note_finished_run()
            return
        if kind not in self._told:
            _logger.warning(
                "%s failed (%s: %s). Training goes on; what could not be written is counted and reported at the end.",
                what,
                name,
                error,
            )
        self._told.add(kind)
        self._lost[kind] += count

    def _note_finished_run(self) -> None:
        if not self.is_run_finished:
            self.is_run_finished = True
            _logger.warning(
                "The W&B run %s was finished before the training ended. Training goes on; what follows is not written "
                "to the run. Call wandb.finish() after the training, or leave it out in a script, whose end finishes "
                "the run.",
                self._run.id,
            )
