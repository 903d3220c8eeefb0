"""The tracker of one training: metrics, tables, artifacts, flush, close; written by workers, never in its way.

It writes to a W&B run, to dashboards on this machine (:mod:`tf_hfwb.dashboards`), or to both: each row is made once.

Whatever goes wrong here, W&B's part is reported once and training continues. Nothing is written twice when a training
is resumed (:mod:`tf_hfwb.tracking.row_deduplication`). Rows that the client cannot take, because its service died or
the disk is full, are kept in a file (:mod:`tf_hfwb.tracking.lost_rows`).

A forked child writes to no run of its parent, and waits for none.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tf_hfwb.dashboards.entry_queue import EntryQueue
from tf_hfwb.dashboards.log_entries import Configuration, Histogram, Row, TableRows, Totals
from tf_hfwb.messages import inform
from tf_hfwb.secret_masking import mask
from tf_hfwb.tracking import exit_codes
from tf_hfwb.tracking.lost_rows import RowRescue
from tf_hfwb.tracking.pending_uploads import Uploads
from tf_hfwb.tracking.row_deduplication import RowDeduplication
from tf_hfwb.tracking.row_log import RowLog, RowsSoFar
from tf_hfwb.tracking.run_end import RunEnd
from tf_hfwb.tracking.run_facts import RunFacts
from tf_hfwb.tracking.run_history import EPOCH, STEP, LoggedRows, unwritten_part
from tf_hfwb.tracking.run_jobs import RunJobs
from tf_hfwb.tracking.wandb_histogram import wandb_histogram
from tf_hfwb.tracking.wandb_private import set_exit_code

# Seconds to wait without saying for what.
_SILENT_WAIT = 10.0

_logger = logging.getLogger("tf_hfwb")


class Tracker:
    """One W&B run or some dashboards, and the workers that write to them.

    Args:
        run: The run; None where W&B is not written to. Without dashboards every method then does nothing.
        owned: Whether we opened the run, and so may finish it.
        dashboards: Dashboards that get each row, too.

    Attributes:
        run: The run.
        dashboards: The dashboards.
        owned: Whether we opened it.
        best: The best value so far of each evaluation metric, whichever callback logs it.
        history: The numbers of every row of this training so far.
        is_waited_for: Whether somebody waits for the artifacts, so that nothing should be tried for long.
        has_given_up: Whether the server did not answer while somebody waited.
        uploads: The artifacts that the server has not confirmed yet.
        increments: The newest increment of each growing table that this process has logged, as the history says it.
        step_now: Tells the global step as of now, on any thread; None outside of a training.
        has_died: Tells whether a training that writes to the run has ended in an exception.
        trained_to: The global step that training has reached, as far as rows tell.
        ended_identity: The identity of a run that has ended because another training began; empty otherwise.
        is_superseded: Whether another training has begun since the run ended, and must not be written into it.
        jobs: The worker threads.
        end: What ends the run.
    """

    def __init__(self, run: Any = None, *, owned: bool = False, dashboards: EntryQueue | None = None) -> None:
        self.run = run
        self.dashboards = EntryQueue() if dashboards is None else dashboards
        self.owned = owned
        self.best: dict[str, float] = {}
        self.increments: dict[str, Mapping[str, Any]] = {}
        self.step_now: Callable[[], int | None] = lambda: None
        self.has_died: Callable[[], bool] = lambda: False
        self.trained_to = 0
        self.ended_identity: dict[str, str] = {}
        self.is_superseded = False
        self.is_waited_for = False
        self.has_given_up = False
        self.uploads = Uploads()
        self._facts = facts = RunFacts(run)
        self.history = RowLog(lambda: facts.directory)
        self._known_rows = RowDeduplication(self._facts)
        self._rescue = RowRescue(self._facts, self.history)
        self.jobs = RunJobs(run, self._rescue, lambda: self.dashboards.flush())
        self.end = RunEnd(self._facts, self.history, self.uploads, self._rescue, owned=owned)

    def start(self) -> None:
        """Watch over the end of the run from now on."""
        _started.add(self)
        exit_codes.watch()
        if self.run is not None:
            self.end.start()
        # Registered after the client's own hook, so it runs before it: rows first, then the end of the run.
        atexit.unregister(self._end_with_the_process)
        atexit.register(self._end_with_the_process)

    # -- what is known of the run -------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether there is a run or a dashboard to write to."""
        return self.run is not None or bool(self.dashboards)

    @property
    def directory(self) -> str | None:
        """The run's folder on disk, which ``wandb sync`` and ``wandb leet`` take; None if there is none."""
        return self._facts.directory if self.active else None

    @property
    def folders(self) -> list[str]:
        """The folders of the run on this machine, oldest first: one for each time that it was resumed."""
        return self._facts.folders if self.active else []

    @property
    def identity(self) -> dict[str, str]:
        """What finds the run again: ``id``, ``project``, ``entity`` and ``name``, as far as they are known."""
        return self._facts.identity if self.active else {}

    @property
    def url(self) -> str | None:
        """The run's page; None while it is not on a server."""
        return self._facts.url if self.active else None

    @property
    def is_offline(self) -> bool:
        """Whether what is logged stays on this machine until it is synced."""
        return self._facts.is_offline if self.active else False

    @property
    def already_logged(self) -> LoggedRows:
        """What the run's history had when training was resumed. The worker reads it before the next row."""
        return self._known_rows.already_logged

    # -- jobs in the background ---------------------------------------------------------------------------------------

    def submit(self, job: Callable[..., Any], *args: Any) -> None:
        """Run ``job(*args)`` on the worker thread, where :meth:`log` and :meth:`summarize` belong."""
        if self.active:
            self.jobs.submit_rows(job, *args)

    def submit_slow(self, what: str, job: Callable[..., Any], *args: Any) -> None:
        """Run ``job(*args)`` on the second worker thread, whose jobs no row waits for.

        Args:
            what: What the job does, as a report of its failure begins.
            job: The job.
            *args: Its arguments.
        """
        if self.active:
            self.jobs.submit_artifact(what, job, *args)

    def rest(self) -> None:
        """To be called by a long job of :meth:`submit` between its parts, so that training does not wait for it."""
        self.jobs.rows.rest()

    def prefer(self, is_good_moment: Callable[[], bool]) -> None:
        """Run jobs, if possible, while this is so: when the training thread needs no interpreter."""
        self.jobs.rows.is_good_moment = is_good_moment

    # -- rows, summary, config ----------------------------------------------------------------------------------------

    def log(self, row: Mapping[str, Any], kept: Collection[str] | None = None) -> None:
        """Write one row of the history, without what the run already has of it when a training was resumed.

        No ``step`` is passed: W&B would drop rows of the user's own in between.

        Args:
            row: The row.
            kept: The names of what every checkpoint is to hold of it; None for all its numbers. A row of which
                nothing is kept may be logged on the second worker.
        """
        numbers = {name: value for name, value in row.items() if isinstance(value, (int, float))}
        held = {name: value for name, value in numbers.items() if kept is None or name in kept}
        if held:
            line = json.dumps(held)
            self.history.append(line)
            self._rescue.add_row(line)
        if self.dashboards and STEP in row:
            shown = {name: value for name, value in row.items() if isinstance(value, (int, float, Histogram))}
            if shown.keys() - {STEP, EPOCH}:  # Else it is the row of a table, which they have already.
                self.dashboards.add(Row(int(row[STEP]), time.time(), shown))
        self._write(row)

    def show_table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """Add rows of a table to the dashboards; may be called on the second worker."""
        if self.dashboards:
            self.dashboards.add(TableRows(key, step, time.time(), columns, rows))
            self.dashboards.flush()

    def _write(self, row: Mapping[str, Any]) -> None:
        if self.run is None:
            return
        rest = unwritten_part(row, self.already_logged.names)
        if rest and not self._rescue.is_active and not self.jobs.is_run_finished:
            with self.jobs.writing_row():
                self.run.log({name: _for_wandb(value) for name, value in rest.items()})
            self._known_rows.add(row)

    def skip_logged(self, from_step: int = 0) -> None:
        """From here on, leave out rows that the run has: of earlier processes by their logs, of this one by memory.

        Args:
            from_step: The global step from which on rows may be repeated; those before it are not read.
        """
        self.submit(self._known_rows.read_history, from_step)

    def newest_increment(self, key: str) -> Mapping[str, Any] | None:
        """The newest increment of a growing table, of this process or of those before; None without one."""
        return self.increments.get(key) or self._known_rows.newest_increment(key)

    def forget_rows_after(self, step: int) -> None:
        """Without a W&B run, which another training would end: a training begins at ``step``.

        What was trained further before is another one, and its rows and best values are not this one's.
        """
        if self.run is None and self.trained_to > step:
            self.flush_rows()
            self.best.clear()
            self.history.replace(())
            self.trained_to = step

    def fill_gaps(self) -> None:
        """Write the rows of :attr:`history` that a killed process had logged and that did not get to the run.

        To be called when a training is resumed, with the checkpoint's rows in :attr:`history`. Offline, where this
        machine has no log of the run, nothing is written: the rows are elsewhere. Nor is it into a run that is new.
        """
        self.submit(self._fill_gaps, self.history.so_far())

    def _fill_gaps(self, rows: RowsSoFar) -> None:
        for row in self._known_rows.lost_rows(rows.newest_first()):
            self._write(row)

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Set values of the run's summary, secrets masked."""
        values = mask(dict(values))
        shown = {name: value for name, value in values.items() if isinstance(value, (int, float, str))}
        self.dashboards.add(Totals(time.time(), shown))
        self._rescue.add_summary(values)
        if self.run is not None and not self._rescue.is_active and not self.jobs.is_run_finished:
            self.run.summary.update(values)

    def add_tag(self, tag: str) -> None:
        """Add a tag to those of the run."""
        if self.run is not None and tag not in (self.run.tags or ()):
            self.run.tags = (*(self.run.tags or ()), tag)

    def update_config(self, config: Mapping[str, Any]) -> None:
        """Merge ``config`` into the run's config, secrets masked."""
        if config and self.run is not None:
            self.submit(lambda: self.run.config.update(mask(dict(config)), allow_val_change=True))

    def configure_dashboards(self, config: Mapping[str, Any]) -> None:
        """Merge ``config`` into what dashboards show, secrets masked."""
        if config and self.dashboards:
            self.submit(self.dashboards.add, Configuration(mask(dict(config))))

    # -- waiting and the end ------------------------------------------------------------------------------------------

    def flush_rows(self, timeout: float | None = 60.0) -> bool:
        """Wait until every row submitted has been handed to the client, ``timeout`` seconds at most."""
        is_done = self.jobs.rows.flush(timeout)
        if not is_done:
            _logger.warning("The W&B client has not taken all rows within %.0f s; they are still waiting.", timeout)
        return is_done

    def flush(self, timeout: float = 60.0) -> None:
        """Wait until everything submitted has been handed to the client.

        Whoever waits in vain for a run that we opened spends the time that its end may take, with all who wait later.

        Args:
            timeout: Seconds to wait for rows at most; artifacts, whose files have to be read, may take ten times as
                long.
        """
        has_rows = self.flush_rows(min(timeout, self.end.time_left()))
        has_artifacts = self._flush_artifacts(min(10 * timeout, self.end.time_left()))
        if has_rows and has_artifacts:
            self.end.reset_deadline()

    def _flush_artifacts(self, patience: float) -> bool:
        self.is_waited_for, self.has_given_up = True, False
        is_done = self.jobs.artifacts.flush(min(_SILENT_WAIT, patience))
        if not is_done:
            if patience > _SILENT_WAIT:
                inform("Waiting for the W&B client to take the artifacts.")
            is_done = self.jobs.artifacts.flush(max(0.0, min(patience - _SILENT_WAIT, self.end.time_left())))
        if not is_done:
            _logger.warning("W&B has not taken all artifacts within %.0f s; they are still waiting.", patience)
        self.is_waited_for = False
        return is_done

    def mark_preempting(self) -> None:
        """Tell W&B at once that this process is about to be preempted, so that the run may be resumed elsewhere."""
        if self.run is None or self._rescue.is_active:
            return
        try:
            self.run.mark_preempting()
        except Exception as error:
            _logger.warning("Marking the W&B run as preempting failed (%s: %s).", type(error).__name__, error)

    def finish(self, exit_code: int = 0) -> None:
        """End a run that we opened: 0 is finished, 255 killed by the user, anything else failed.

        Waits for its uploads, no longer than ``WANDB_FINISH_TIMEOUT`` seconds, or half an hour.
        """
        self.flush()
        self.dashboards.close(exit_code)
        if self.run is None:
            self.close()
        elif self.owned:
            self.end.finish(exit_code)
            self.close()
            self.run = None
            self.dashboards = EntryQueue()

    def end_for_another_training(self) -> None:
        """End a run that we opened because another training begins."""
        identity = self.identity
        self.finish(self._exit_code())
        self.ended_identity = identity
        self.is_superseded = True

    def take_over(self, earlier: Tracker) -> None:
        """Continue with what the tracker of the same run knew before the run was ended for another training."""
        self.best.update(earlier.best)
        self.history.take_over(earlier.history)
        self.increments.update(earlier.increments)
        self.trained_to = earlier.trained_to

    def before_end(self) -> None:
        """To be called when somebody else ends the run: hand over what is left, and say how the training has ended."""
        if self.end.is_under_way:
            return
        self.flush()
        exit_code = self._exit_code()
        self.dashboards.close(exit_code)
        if exit_code:
            set_exit_code(self.run, exit_code)
        if self._rescue.is_active:
            self.end.report_lost_rows(exit_code)

    def after_end(self) -> None:
        """To be called when somebody else has ended the run: see what became of the rows of one that we opened."""
        if self.end.is_under_way:
            return
        if self.owned and self.directory is not None:
            self.end.report_lost_rows(self._exit_code(), is_uploaded=not self.is_offline)
        self.close()

    def close(self) -> None:
        """End the worker threads; they start again with the next job."""
        atexit.unregister(self._end_with_the_process)
        self.jobs.close()
        self.uploads.close()
        self.end.close()

    def leave_to_the_parent(self) -> None:
        """In a forked child, which has neither the threads nor the client's connection: write nothing."""
        atexit.unregister(self._end_with_the_process)
        self.run = None
        self.dashboards = EntryQueue()

    def _end_with_the_process(self) -> None:
        """When the interpreter ends, the client would finish the run, and nothing could follow the last upload."""
        exit_code = exit_codes.exit_code()
        self.flush()
        self.dashboards.close(self._exit_code() if exit_code is None else exit_code)
        if self.directory is not None and sys.modules["wandb"].run is self.run:
            self.end.finish(self._exit_code() if exit_code is None else exit_code)
        self.jobs.report_lost()

    def _exit_code(self) -> int:
        """Where nobody says how the training has ended: a run that we opened has failed with its training."""
        return exit_codes.code_of() if self.owned and self.has_died() else 0


def _for_wandb(value: Any) -> Any:
    return wandb_histogram(value) if isinstance(value, Histogram) else value


_started: weakref.WeakSet[Tracker] = weakref.WeakSet()


def _after_fork() -> None:
    for tracker in list(_started):
        tracker.leave_to_the_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
