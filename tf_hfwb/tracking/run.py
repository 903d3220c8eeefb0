"""The run: opened at the first event, or taken over from the user; written by one worker; never in training's way.

Whatever goes wrong here, wandb's part is reported once and training goes on. A run that cannot be opened online is
opened offline; when that fails too, the fit goes on without a run.

A training that goes on continues its run: the same id, in a new local folder. Rows that the run has already are left
out, as the server tells, or offline the client's logs on this machine; those of a killed process that never got there
can be added.

A run that we open ends within a limit: what is not uploaded by then stays on disk, and the last line says how to upload
it.
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
import sys
import threading
import urllib.parse
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

from tf_hfwb.background import Worker
from tf_hfwb.messages import inform
from tf_hfwb.secrets import masked
from tf_hfwb.settings import Settings
from tf_hfwb.tracking.history import STEP, Logged, logged_rows, rows_on_server, run_folders, unwritten
from tf_hfwb.tracking.together import Together
from tf_hfwb.tracking.uploads import Uploads, described

# Seconds between two writes to the run's log. A killed process loses what came since; the client's 15 s are many rows.
FLUSH_INTERVAL = 0.1
# Seconds that the end of a run that we open waits for its uploads, unless WANDB_FINISH_TIMEOUT says otherwise.
FINISH_TIMEOUT = 1800.0
# Seconds to wait without saying for what.
_SILENCE = 10.0
# Seconds for what comes after the last upload, as putting it into the registry.
_AFTERWARDS = 60.0

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
        if run is not None:
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
            self._lose(lost, 1, what, error)

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
        self._worker.give_way()
        try:
            together.send()
        except Exception as error:
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
        self._write(row)

    def _write(self, row: Mapping[str, Any]) -> None:
        rest = unwritten(row, self.already_logged.names)
        if rest:
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
        self.run.summary.update(masked(dict(values)))

    def update_config(self, config: Mapping[str, Any]) -> None:
        """Merge ``config`` into the run's config, secrets masked."""
        if self.run is None or not config:
            return
        self.submit(lambda: self.run.config.update(masked(dict(config)), allow_val_change=True))

    def flush_rows(self, timeout: float | None = 60.0) -> None:
        """Wait until every row submitted has been handed to the client, ``timeout`` seconds at most."""
        if not self._worker.flush(timeout):
            _logger.warning("The W&B client has not taken all rows within %.0f s; they are still waiting.", timeout)
        self._report_lost("rows")

    def flush(self, timeout: float | None = 60.0) -> None:
        """Wait until everything submitted has been handed to the client.

        Args:
            timeout: Seconds to wait for rows at most; artifacts, whose files have to be read, may take ten times as
                long. None waits without end.
        """
        self.flush_rows(timeout)
        self.is_waited_for, self.has_given_up = True, False
        patience = None if timeout is None else 10 * timeout
        if patience is not None and self.run is not None and not self.is_offline and self.run.settings.finish_timeout:
            patience = min(patience, self.run.settings.finish_timeout)
        if not self._artifacts.flush(min(_SILENCE, patience or _SILENCE)):
            inform("Waiting for the W&B client to take the artifacts.")
            if not self._artifacts.flush(patience):
                _logger.warning("W&B has not taken all artifacts within %.0f s; they are still waiting.", patience)
        self.is_waited_for = False
        self._report_lost("artifacts")

    def _report_lost(self, what: str) -> None:
        number = self._lost.pop(what, 0)
        if number:
            _logger.warning("%d %s could not be written to the W&B run.", number, what)

    def mark_preempting(self) -> None:
        """Tell W&B at once that this process is about to be preempted, so that the run may be continued elsewhere."""
        if self.run is not None:
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

    def _end(self) -> None:
        """When the interpreter ends, the client would finish the run, and nothing could follow the last upload."""
        self.flush()
        if self.run is not None and not self.is_offline:
            self._finish(None)

    def _finish(self, exit_code: int | None) -> None:
        directory, is_complete = self.directory, False
        try:
            self.run.finish(exit_code=exit_code)
            is_complete = True
        except TimeoutError:
            _logger.warning("W&B has not taken everything within %.0f s.", self.run.settings.finish_timeout)
        except Exception as error:
            _logger.warning("Finishing the W&B run failed (%s: %s).", type(error).__name__, error)
        if directory is None or self.is_offline:
            return
        self.uploads.flush(_AFTERWARDS if is_complete else 1.0)
        missing = ", ".join(map(described, self.uploads.missing()))
        if missing or not is_complete:
            _logger.warning(
                "Not uploaded: %s. Nothing is lost, it is on disk. Upload it with: tf-hfwb sync %s",
                missing or "the last rows of the run",
                directory,
            )

    def close(self) -> None:
        """End the worker threads; they start again with the next job."""
        atexit.unregister(self._end)
        self._worker.close(timeout=1.0)
        self._artifacts.close(timeout=1.0)
        self.uploads.close()


_current = Tracker()


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
) -> Tracker:
    """The tracker of the running W&B run; opens one when there is none.

    Args:
        settings: Project, mode and whether tracking is disabled.
        name: The name of a run that we open; W&B finds one when None.
        config: Merged into the run's config.
        chief: Whether this process speaks for all workers; others get a tracker without a run.
        run_id: The run of a training that goes on. A run that we open, or opened for another training, continues it,
            unless ``WANDB_RUN_ID`` says otherwise; a run of the user's is used as it is. Rows that the run has already
            are left out from then on.
        entity: The user or team of that run, unless ``WANDB_ENTITY`` says otherwise.
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
            _current.finish()
    if wandb.run is None or _current.run is not wandb.run:
        _current.close()
        _current = (
            Tracker(_init(settings, name, run_id, entity), owned=True) if wandb.run is None else Tracker(wandb.run)
        )
    if _current.active:
        _guard("defining the W&B metrics", lambda: _define_metrics(_current.run))
        if run_id is not None:
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
        wandb.termlog(f"Offline run. Upload it later with: wandb login && wandb sync {os.path.dirname(run.dir)}")
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
