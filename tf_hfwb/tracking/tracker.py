"""The run: opened at the first event, or taken over from the user; written by one worker; never in training's way.

Whatever goes wrong here, wandb's part is reported once and training goes on. A run that cannot be opened online is
opened offline; when that fails too, the fit goes on without a run.

A training that goes on continues its run: the same id, in a new local folder. Rows that the run has already are left
out, as the server tells, or offline the client's logs on this machine; those of a killed process that never got there
can be added.

A run ends with the exit code of the process, or of the training; one that we open ends within a limit, which counts
from the first time that somebody waited for W&B in vain. What is not uploaded by then stays on disk, and the last line
says how to upload it. Rows that the client's log lacks, because its service died or the disk is full, are kept in a
file of our own (:mod:`tf_hfwb.tracking.rescued_rows`).

A forked child writes to no run of its parent, and waits for none.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import functools
import json
import logging
import netrc
import os
import pathlib
import shlex
import sys
import threading
import time
import urllib.parse
import warnings
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

from tf_hfwb.background_worker import Worker
from tf_hfwb.masking import masked
from tf_hfwb.messages import inform
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import exit_codes, wandb_service
from tf_hfwb.tracking.pending_uploads import Uploads, described
from tf_hfwb.tracking.rescued_rows import Rescue
from tf_hfwb.tracking.row_batching import Together
from tf_hfwb.tracking.run_history import STEP, Logged, is_whole, logged_rows, rows_on_server, run_folders, unwritten

# Seconds between two writes to the run's log. A killed process loses what came since; the client's 15 s are many rows.
FLUSH_INTERVAL = 0.1
# Seconds that the end of a run that we open waits for its uploads, unless WANDB_FINISH_TIMEOUT says otherwise.
FINISH_TIMEOUT = 1800.0
# Seconds to wait without saying for what.
_SILENCE = 10.0
# Seconds for what comes after the last upload, as putting it into the registry.
_AFTERWARDS = 60.0
# Seconds for the client's service to take a batch of rows, and to answer a question: on this machine, without a server.
_STUCK = 30.0
# Seconds for what the end does without a server, also when the time for it has passed.
_LAST = 3.0

_logger = logging.getLogger("tf_hfwb")


class Tracker:
    """One W&B run and the worker threads that write to it: one for rows, one for artifacts, which take longer.

    Attributes:
        run: The run, or None when nothing is tracked: every method then does nothing.
        owned: Whether we opened the run, and so may finish it.
        best: The best value so far of each evaluation metric, whichever callback logs it.
        history: The numbers of every row of this training so far, each row a line of JSON.
        already_logged: What the run's history had when training went on. The worker reads it before the next row.
        is_waited_for: Whether somebody waits for the artifacts, so that nothing should be tried for long.
        has_given_up: Whether the server did not answer while somebody waited.
        uploads: The artifacts that the server has not confirmed yet.
        increments: The newest increment of each growing table that this process has logged, as the history says it.
        step_now: Tells the global step as of now, on any thread; None outside of a training.
        has_died: Tells whether a training that writes to the run has ended in an exception.
        trained_to: The global step that training has reached, as far as rows tell.
        made_way_as: The identity of a run that has ended because another training began; empty otherwise.
    """

    def __init__(self, run: Any = None, *, owned: bool = False) -> None:
        self.run = run
        self.owned = owned
        self.best: dict[str, float] = {}
        self.history: list[str] = []
        self.already_logged = Logged()
        self._logged_here = Logged()
        self._logged_before: Logged | None = None
        self._writing = threading.Lock()
        self._server_answered = False
        self.is_waited_for = self.has_given_up = False
        self.uploads = Uploads()
        self.increments: dict[str, Mapping[str, Any]] = {}
        self._worker = Worker("tf_hfwb-tracking", batch=self._together)
        self._artifacts = Worker("tf_hfwb-artifacts")
        self._lost: collections.Counter[str] = collections.Counter()
        self.step_now: Callable[[], int | None] = lambda: None
        self.has_died: Callable[[], bool] = lambda: False
        self.trained_to = 0
        self.made_way_as: dict[str, str] = {}
        self._summary: dict[str, Any] = {}
        self._rescue: Rescue | None = None  # Since the client's service has failed.
        self._trouble = ""
        self._deadline: float | None = None  # Since somebody has waited in vain.
        self._is_ending = False
        if run is not None:
            _trackers.add(self)
            exit_codes.watch()
            self._watchdog = wandb_service.Watchdog()
            # Registered after the client's own hook, so it runs before it: rows first, then the end of the run.
            atexit.register(self._end)

    @property
    def active(self) -> bool:
        """Whether there is a run to write to."""
        return self.run is not None

    @property
    def directory(self) -> str | None:
        """The run's folder on disk, which ``wandb sync`` and ``wandb leet`` take; None if there is none."""
        return None if self.run is None or self.run.disabled else os.path.dirname(self.run.dir)

    @property
    def folders(self) -> list[str]:
        """The folders of the run on this machine, oldest first: one for each time that it went on."""
        mine = self.directory
        return [] if mine is None else run_folders(self.run.id, os.path.dirname(mine)) or [mine]

    @property
    def identity(self) -> dict[str, str]:
        """What finds the run again: ``id``, ``project``, ``entity`` and ``name``, as far as they are known."""
        if self.run is None or self.run.disabled:
            return {}
        known = {name: getattr(self.run, name) for name in ("id", "project", "entity", "name")}
        return {name: str(value) for name, value in known.items() if value}

    @property
    def is_offline(self) -> bool:
        """Whether what is logged stays on this machine until it is synced."""
        return self.run is not None and bool(self.run.offline)

    def submit(self, job: Callable[..., Any], *args: Any) -> None:
        """Run ``job(*args)`` on the worker thread, where :meth:`log` and :meth:`summarize` belong."""
        if self.run is not None:
            self._worker.submit(self._guarded, "rows", "Writing to the W&B run", job, args)

    def submit_slow(self, what: str, job: Callable[..., Any], *args: Any) -> None:
        """Run ``job(*args)`` on the second worker thread, whose jobs no row waits for.

        Args:
            what: What the job does, as a report of its failure begins.
            job: The job.
            *args: Its arguments.
        """
        if self.run is not None:
            self._artifacts.submit(self._guarded, "artifacts", what, job, args)

    def _guarded(self, lost: str, what: str, job: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            job(*args)
        except Exception as error:
            if lost == "rows" and wandb_service.is_trouble(error):
                self._rescue_rows(_named(error))
            else:
                self._lose(lost, 1, what, error)

    def _rescue_rows(self, trouble: str) -> None:
        """The client's service has failed: from now on rows go into a file of our own, with all those before."""
        if self._rescue is not None or self.directory is None:
            return
        self._trouble = trouble
        self._rescue = rescue = Rescue(self.directory)
        rescue.add_rows(self.history)
        rescue.add(summary=self._summary)
        is_kept = rescue.write()
        wandb_service.stop_console(self.run)
        if not self._is_ending:
            _logger.warning(
                "W&B's client has failed: %s. Training goes on; %s.",
                trouble,
                f"rows are kept in {rescue.path}" if is_kept else f"rows cannot be kept on disk either: {rescue.error}",
            )

    def _lose(self, lost: str, number: int, what: str, error: Exception) -> None:
        if not self._lost[lost]:
            _logger.warning(
                "%s failed (%s: %s). Training goes on; what could not be written is counted and reported at the end.",
                what,
                type(error).__name__,
                error,
            )
        self._lost[lost] += number

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        with Together(self.run) as together:
            yield
        if self._rescue is not None:
            self._rescue.write()
            return
        self._worker.give_way()
        try:
            together.send(_STUCK)
        except Exception as error:
            if wandb_service.is_trouble(error):
                self._rescue_rows(_named(error))
            else:
                self._lose("rows", len(together), "Writing to the W&B run", error)

    def rest(self) -> None:
        """To be called by a long job of :meth:`submit` between its parts, so that training does not wait for it."""
        self._worker.rest()

    def prefer(self, is_good_moment: Callable[[], bool]) -> None:
        """Run jobs, if possible, while this is so: when the training thread needs no interpreter."""
        self._worker.is_good_moment = is_good_moment

    def log(self, row: Mapping[str, Any], kept: Collection[str] | None = None) -> None:
        """Write one row of the history, without what the run already has of it when a training goes on.

        No ``step`` is passed: W&B would drop rows of the user's own in between.

        Args:
            row: The row.
            kept: The names of what every checkpoint is to hold of it; None for all its numbers. A row of which
                nothing is kept may be logged on the second worker.
        """
        numbers = {name: value for name, value in row.items() if isinstance(value, (int, float))}
        held = {name: value for name, value in numbers.items() if kept is None or name in kept}
        if held:
            self.history.append(json.dumps(held))
            if self._rescue is not None:
                self._rescue.add_rows(self.history[-1:])
        self._write(row)

    def _write(self, row: Mapping[str, Any]) -> None:
        rest = unwritten(row, self.already_logged.names)
        if rest and self._rescue is None:
            self.run.log(rest)
            with self._writing:
                self._logged_here.add(row)

    def skip_logged(self) -> None:
        """From here on, leave out rows that the run has: of earlier processes by their logs, of this one by memory."""
        self.submit(self._read_logged)

    def _read_logged(self) -> None:
        if self._logged_before is None and self.directory is not None:
            folder = os.path.dirname(self.directory)
            found = None if self.is_offline else rows_on_server(self.run.path)
            self._server_answered = found is not None
            # What is on this machine of online runs has arrived there, or not at all.
            self._logged_before = found or Logged()
            self._logged_before.merge(
                logged_rows(self.run.id, folder, skip=self.directory, only_offline=self._server_answered)
            )
        known = Logged()
        for part in (self._logged_before or Logged(), self._logged_here):
            known.merge(part)
        self.already_logged = known

    def fill_gaps(self) -> None:
        """Write the rows of :attr:`history` that a killed process had logged and that did not get to the run.

        To be called when a training goes on, with the checkpoint's rows in :attr:`history`. Offline, where this machine
        has no log of the run, nothing is written: the rows are elsewhere. Nor is it into a run that is new.
        """
        self.submit(self._fill_gaps, list(self.history))

    def _fill_gaps(self, rows: list[str]) -> None:
        mine = self.directory
        if mine is None:
            return
        if self._server_answered:
            goes_on = bool(self.run.resumed)
        else:
            goes_on = bool(set(run_folders(self.run.id, os.path.dirname(mine))) - {mine})
        for row in map(json.loads, rows if goes_on else ()):
            self._write(row)

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Set values of the run's summary, secrets masked."""
        values = masked(dict(values))
        self._summary.update(values)
        if self._rescue is None:
            self.run.summary.update(values)
        else:
            self._rescue.add(summary=values)

    def update_config(self, config: Mapping[str, Any]) -> None:
        """Merge ``config`` into the run's config, secrets masked."""
        if self.run is None or not config:
            return
        self.submit(lambda: self.run.config.update(masked(dict(config)), allow_val_change=True))

    def flush_rows(self, timeout: float | None = 60.0) -> bool:
        """Wait until every row submitted has been handed to the client, ``timeout`` seconds at most."""
        done = self._worker.flush(timeout)
        if not done:
            _logger.warning("The W&B client has not taken all rows within %.0f s; they are still waiting.", timeout)
        self._report_lost("rows")
        return done

    def flush(self, timeout: float = 60.0) -> None:
        """Wait until everything submitted has been handed to the client.

        Whoever waits in vain for a run that we opened spends the time that its end may take, with all who wait later.

        Args:
            timeout: Seconds to wait for rows at most; artifacts, whose files have to be read, may take ten times as
                long.
        """
        done = self.flush_rows(min(timeout, self._time_left()))
        self.is_waited_for, self.has_given_up = True, False
        patience = min(10 * timeout, self._time_left())
        if not self._artifacts.flush(min(_SILENCE, patience)):
            if patience > _SILENCE:
                inform("Waiting for the W&B client to take the artifacts.")
            if not self._artifacts.flush(max(0.0, min(patience - _SILENCE, self._time_left()))):
                done = False
                _logger.warning("W&B has not taken all artifacts within %.0f s; they are still waiting.", patience)
        self.is_waited_for = False
        self._report_lost("artifacts")
        if done:
            self._deadline = None

    def _time_left(self) -> float:
        """Seconds until nobody is to wait for W&B any more; they count from the first call."""
        if self._deadline is None:
            self._deadline = time.monotonic() + (self._finish_timeout or FINISH_TIMEOUT)
        return max(0.0, self._deadline - time.monotonic())

    @property
    def _finish_timeout(self) -> float:
        """Seconds that the end may take; 0 for no limit, as a run of the user's may have it."""
        has_settings = self.run is not None and not self.run.disabled
        return float(self.run.settings.finish_timeout) if has_settings else 0.0

    def start_anew(self) -> None:
        """Another training begins: what the last one has waited for is past."""
        self._deadline = None

    def _report_lost(self, what: str) -> None:
        number = self._lost.pop(what, 0)
        if number:
            _logger.warning("%d %s could not be written to the W&B run.", number, what)

    def mark_preempting(self) -> None:
        """Tell W&B at once that this process is about to be preempted, so that the run may be continued elsewhere."""
        if self.run is not None and self._rescue is None:
            _guard("marking the W&B run as preempting", self.run.mark_preempting)

    def finish(self, exit_code: int = 0) -> None:
        """End a run that we opened: 0 is finished, 255 killed by the user, anything else failed.

        Waits for its uploads, no longer than ``WANDB_FINISH_TIMEOUT`` seconds, or :data:`FINISH_TIMEOUT`.
        """
        self.flush()
        if self.run is not None and self.owned:
            self._finish(exit_code)
            self.close()
            self.run = None

    def make_way(self) -> None:
        """End a run that we opened because another training begins."""
        identity = self.identity
        self.finish(self._exit_code())
        self.made_way_as = identity

    def take_over(self, earlier: Tracker) -> None:
        """Go on with what an earlier part of the same run, which had made way, knew of its training."""
        self.best, self.history, self.increments = earlier.best, earlier.history, earlier.increments
        self.trained_to = earlier.trained_to

    def _end(self) -> None:
        """When the interpreter ends, the client would finish the run, and nothing could follow the last upload."""
        code = exit_codes.exit_code()
        self.flush()
        if self.run is not None and not self.run.disabled and sys.modules["wandb"].run is self.run:
            self._finish(self._exit_code() if code is None else code)

    def _exit_code(self) -> int:
        """Where nobody says how the training has ended: a run that we opened has failed with its training."""
        return exit_codes.code_of() if self.owned and self.has_died() else 0

    def before_end(self) -> None:
        """To be called when somebody else ends the run: hand over what is left, and say how the training has ended."""
        if self._is_ending:
            return
        self.flush()
        code, hooks = self._exit_code(), getattr(self.run, "_hooks", None)
        if code and hooks is not None:
            hooks.exit_code = code  # What the client takes when it is told none.
        if self._rescue is not None:
            self._has_lost_rows(code)

    def after_end(self) -> None:
        """To be called when somebody else has ended a run that we opened: see what became of the rows."""
        if not self._is_ending and self.owned and self.directory is not None:
            self._has_lost_rows(self._exit_code(), is_uploaded=not self.is_offline)

    def _finish(self, exit_code: int) -> None:
        self._is_ending = True
        run, directory, is_complete = self.run, self.directory, False
        limit = max(_LAST, self._time_left()) if self.owned or self._finish_timeout else None
        if self._rescue is None and not wandb_service.answers(run, min(_STUCK, limit or _STUCK)):
            self._rescue_rows("its service does not answer")
        if self._rescue is not None:
            wandb_service.kill(run)  # It may hang, and the client would wait for it.
        end = functools.partial(wandb_service.kill, run)
        watching = contextlib.nullcontext() if limit is None else self._watchdog.watching(limit + _LAST, end)
        try:
            with watching:
                run.finish(exit_code=exit_code)
            is_complete = True
        except TimeoutError:
            _logger.warning("W&B has not taken everything within %.0f s.", self._finish_timeout)
        except Exception as error:
            if wandb_service.is_trouble(error):
                wandb_service.forget(run)
            if self._rescue is None:
                _logger.warning("Finishing the W&B run failed (%s: %s).", type(error).__name__, error)
        if directory is None:
            return
        missing = ""
        if not self.is_offline:
            self.uploads.flush(min(_AFTERWARDS, max(1.0, self._time_left())) if is_complete else 1.0)
            missing = ", ".join(map(described, self.uploads.missing()))
            missing = missing or ("" if is_complete else "the end of the run")
        if (
            not self._has_lost_rows(exit_code, is_uploaded=is_complete and not self.is_offline, missing=missing)
            and missing
        ):
            _logger.warning("Not uploaded: %s. Nothing is lost, it is on disk. %s", missing, self._advice())

    def _has_lost_rows(self, exit_code: int, *, is_uploaded: bool = False, missing: str = "") -> bool:
        """Whether rows did not get into the client's log, which is then said: the client itself says nothing."""
        mine, rescue = self.directory, self._rescue
        if mine is None or (rescue is None and is_whole(mine)):
            return False
        held = (rows_on_server(self.run.path) if is_uploaded else None) or Logged()
        held.merge(logged_rows(self.run.id, os.path.dirname(mine)))
        lost = [row for row in self.history if unwritten(json.loads(row), held.names)]
        if rescue is None and not lost:  # But the end, which sync is to know.
            rescue = Rescue(mine)
            rescue.add(exit_code=exit_code)
            rescue.write()
            return False
        if rescue is None:
            self._trouble = "its log ends too early, as on a full disk"
            self._rescue = rescue = Rescue(mine)
            rescue.add_rows(lost)
            rescue.add(summary=self._summary)
        rescue.add(exit_code=exit_code)
        is_kept = rescue.write()
        _logger.warning(
            "W&B's client has failed: %s. Its log %s lacks %d of %d rows, %s%s %s",
            self._trouble,
            mine,
            len(lost),
            len(self.history),
            f"which are in {rescue.path}."
            if is_kept
            else f"which tf_hfwb could not write either: {rescue.error}. A "
            "checkpoint holds those up to its step, as log_history in trainer_state.json.",
            f" Not uploaded: {missing}." if missing else "",
            self._advice(),
        )
        return True

    def _advice(self) -> str:
        elsewhere = self._rescue.path if self._rescue is not None else None
        files = [elsewhere] if elsewhere is not None and os.path.dirname(elsewhere) != self.directory else []
        return f"Upload what there is with: {shlex.join(['tf-hfwb', 'sync', *self.folders, *files])}"

    def close(self) -> None:
        """End the worker threads; they start again with the next job."""
        atexit.unregister(self._end)
        self._worker.close(timeout=1.0)
        self._artifacts.close(timeout=1.0)
        self.uploads.close()
        if self.run is not None:
            self._watchdog.close()

    def leave_to_the_parent(self) -> None:
        """In a forked child, which has neither the threads nor the client's connection: write nothing."""
        atexit.unregister(self._end)
        self.run = None


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


_trackers: weakref.WeakSet[Tracker] = weakref.WeakSet()
_current = Tracker()


def _after_fork() -> None:
    for tracker in list(_trackers):
        tracker.leave_to_the_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def current_tracker() -> Tracker:
    """The tracker that :func:`open_tracker` opened last; one without a run when there is none, or it has ended."""
    global _current
    if _current.run is not None and sys.modules["wandb"].run is not _current.run:  # The user has finished it.
        _current.close()
        _current = Tracker()
    return _current


def open_tracker(
    settings: Settings,
    *,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    chief: bool = True,
    run_id: str | None = None,
    entity: str | None = None,
    may_repeat: bool = True,
) -> Tracker:
    """The tracker of the running W&B run; opens one when there is none.

    Args:
        settings: Project, mode and whether tracking is disabled.
        name: The name of a run that we open; W&B finds one when None.
        config: Merged into the run's config.
        chief: Whether this process speaks for all workers; others get a tracker without a run.
        run_id: The run of a training that goes on. A run that we open, or opened for another training, continues it,
            unless ``WANDB_RUN_ID`` says otherwise; a run of the user's is used as it is.
        entity: The user or team of that run, unless ``WANDB_ENTITY`` says otherwise.
        may_repeat: Whether that training repeats steps, as from a checkpoint: rows that the run has already are left
            out from then on.
    """
    global _current
    if settings.disabled:
        _warn_that_it_is_disabled()
        return Tracker()
    if not chief:
        return Tracker()
    import wandb

    if run_id is not None and _current.owned and _current.run is wandb.run is not None:
        chosen = wandb.setup().settings.run_id or run_id
        if wandb.run.id != chosen:
            _current.make_way()
    if wandb.run is None or _current.run is not wandb.run:
        _current.close()
        _current = (
            Tracker(_init(settings, name, run_id, entity), owned=True) if wandb.run is None else Tracker(wandb.run)
        )
    if _current.active:
        _current.start_anew()
        _guard("defining the W&B metrics", lambda: _define_metrics(_current.run))
        if run_id is not None and may_repeat:
            _current.skip_logged()
        _current.update_config(config or {})
    return _current


@functools.cache  # Once in a process, however many callbacks and fits there are.
def _warn_that_it_is_disabled() -> None:
    warnings.warn(
        "WANDB_DISABLED is set: no W&B run is opened and nothing is logged. It is deprecated; "
        'write report_to="none", or set WANDB_MODE=disabled, and unset WANDB_DISABLED.',
        FutureWarning,
        stacklevel=3,
    )


def _define_metrics(run: Any) -> None:
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)


def _init(settings: Settings, name: str | None, run_id: str | None, entity: str | None) -> Any:
    import wandb

    def init(mode: Literal["offline"] | None) -> Any:
        with _command_line_masked():
            return wandb.init(project=settings.project, name=name, mode=mode, **_options(run_id, entity))

    keyless = settings.mode is None and not has_credentials()
    run = _guard("opening the W&B run", lambda: init("offline" if keyless else None))
    if run is None and settings.mode != "offline" and not keyless:
        run = _guard("opening the W&B run offline", lambda: init("offline"))
        keyless = run is not None
    if run is None:
        _logger.warning("Training goes on without a W&B run.")
    elif keyless:
        mine = os.path.dirname(run.dir)
        folders = run_folders(run.id, os.path.dirname(mine))
        folders += [] if mine in folders else [mine]  # The client's service makes its file in a moment.
        wandb.termlog(f"Offline run. Upload it later with: wandb login && {shlex.join(['wandb', 'sync', *folders])}")
    return run


@contextlib.contextmanager
def _command_line_masked() -> Iterator[None]:
    """The client records what the program was called with when it opens a run; no setting keeps secrets out."""
    given = sys.argv
    sys.argv = masked(given)
    try:
        yield
    finally:
        sys.argv = given


def _options(run_id: str | None, entity: str | None) -> dict[str, Any]:
    """What the client's settings, from the environment or its files, do not say already."""
    import wandb

    said = wandb.setup().settings
    options: dict[str, Any] = {}
    if entity is not None and said.entity is None:
        options["entity"] = entity
    if run_id is not None and said.run_id is None:
        options["id"] = run_id
    if run_id is not None and said.resume is None:
        options["resume"] = "allow"
    options["settings"] = ours = wandb.Settings(finish_timeout_raises=True)
    for setting, value in (("x_transaction_log_flush_interval", FLUSH_INTERVAL), ("finish_timeout", FINISH_TIMEOUT)):
        if getattr(said, setting) == getattr(ours, setting):
            setattr(ours, setting, value)
    return options


def _guard(what: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Exception as error:
        _logger.warning("%s failed (%s: %s).", what[0].upper() + what[1:], type(error).__name__, error)
        return None


def has_credentials() -> bool:
    """Whether the client would find a key without asking: environment, its settings files, or the netrc file."""
    import wandb

    settings = wandb.setup().settings
    if settings.api_key or settings.identity_token_file or settings.mode != "online":
        return True
    host = urllib.parse.urlsplit(settings.base_url).netloc
    # The client's default host stands before the old one, and takes a key that was stored for it.
    hosts = [host, "api.wandb.ai"] if host.endswith("forge.coreweave.com") else [host]
    candidates = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for path in (pathlib.Path(name).expanduser() for name in candidates if name):
        try:
            known = netrc.netrc(path)
        except FileNotFoundError:
            continue
        except (netrc.NetrcParseError, OSError):
            return False
        return any(known.authenticators(host) for host in hosts)
    return False
