"""The run: opened at the first event, or taken over from the user; written by one worker; never in training's way.

Whatever goes wrong here, wandb's part is reported once and training goes on. A run that cannot be opened online is
opened offline; when that fails too, the fit goes on without a run.
"""

from __future__ import annotations

import atexit
import functools
import logging
import netrc
import os
import pathlib
import urllib.parse
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.background import Worker
from tf_hfwb.settings import Settings
from tf_hfwb.tracking.secrets import masked

STEP = "train/global_step"

_logger = logging.getLogger("tf_hfwb")


class Tracker:
    """One W&B run and the worker thread that writes to it.

    Attributes:
        run: The run, or None when nothing is tracked: every method then does nothing.
        owned: Whether we opened the run, and so may finish it.
        best: The best value so far of each evaluation metric, whichever callback logs it.
    """

    def __init__(self, run: Any = None, *, owned: bool = False) -> None:
        self.run = run
        self.owned = owned
        self.best: dict[str, float] = {}
        self._worker = Worker("tf_hfwb-tracking")
        self._lost = 0
        if run is not None:
            # Registered after the client's own hook, so it runs before it: rows first, then the end of the run.
            atexit.register(self.flush)

    @property
    def active(self) -> bool:
        """Whether there is a run to write to."""
        return self.run is not None

    @property
    def directory(self) -> str | None:
        """The run's folder on disk, which ``wandb sync`` and ``wandb leet`` take; None if there is none."""
        return None if self.run is None or self.run.disabled else os.path.dirname(self.run.dir)

    def submit(self, job: Callable[..., Any], *args: Any) -> None:
        """Run ``job(*args)`` on the worker thread, where :meth:`log` and :meth:`summarize` belong."""
        if self.run is not None:
            self._worker.submit(self._guarded, job, args)

    def _guarded(self, job: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            job(*args)
        except Exception as error:
            self._lost += 1
            if self._lost == 1:
                _logger.warning(
                    "Writing to the W&B run failed (%s: %s). Training goes on; what could not be written is counted "
                    "and reported at the end.",
                    type(error).__name__,
                    error,
                )

    def log(self, row: Mapping[str, Any]) -> None:
        """Write one row of the history. No ``step`` is passed: W&B would drop rows of the user's own in between."""
        self.run.log(dict(row))

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Set values of the run's summary."""
        self.run.summary.update(dict(values))

    def update_config(self, config: Mapping[str, Any]) -> None:
        """Merge ``config`` into the run's config, secrets masked."""
        if self.run is None:
            return
        self.submit(lambda: self.run.config.update(masked(dict(config)), allow_val_change=True))

    def flush(self, timeout: float | None = 60.0) -> None:
        """Wait until everything submitted has been handed to the client."""
        if not self._worker.flush(timeout):
            _logger.warning("The W&B client has not taken all rows within %.0f s; they are still waiting.", timeout)
        if self._lost:
            _logger.warning("%d rows could not be written to the W&B run.", self._lost)
            self._lost = 0

    def finish(self, exit_code: int = 0) -> None:
        """End a run that we opened: 0 is finished, 255 killed by the user, anything else failed."""
        self.flush()
        if self.run is not None and self.owned:
            _guard("finishing the W&B run", lambda: self.run.finish(exit_code=exit_code))
            self.close()
            self.run = None

    def close(self) -> None:
        """End the worker thread; it starts again with the next job."""
        atexit.unregister(self.flush)
        self._worker.close(timeout=1.0)


_current = Tracker()


def open_tracker(
    settings: Settings,
    *,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    chief: bool = True,
) -> Tracker:
    """The tracker of the running W&B run; opens one when there is none.

    Args:
        settings: Project, mode and whether tracking is disabled.
        name: The name of a run that we open; W&B finds one when None.
        config: Merged into the run's config.
        chief: Whether this process speaks for all workers; others get a tracker without a run.
    """
    global _current
    if settings.disabled:
        _warn_that_it_is_disabled()
        return Tracker()
    if not chief:
        return Tracker()
    import wandb

    if wandb.run is None or _current.run is not wandb.run:
        _current.close()
        _current = Tracker(_init(settings, name), owned=True) if wandb.run is None else Tracker(wandb.run)
    if _current.active:
        _guard("defining the W&B metrics", lambda: _define_metrics(_current.run))
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


def _init(settings: Settings, name: str | None) -> Any:
    import wandb

    keyless = settings.mode is None and not has_credentials()
    run = _guard(
        "opening the W&B run",
        lambda: wandb.init(project=settings.project, name=name, mode="offline" if keyless else None),
    )
    if run is None and settings.mode != "offline" and not keyless:
        run = _guard(
            "opening the W&B run offline",
            lambda: wandb.init(project=settings.project, name=name, mode="offline"),
        )
        keyless = run is not None
    if run is None:
        _logger.warning("Training goes on without a W&B run.")
    elif keyless:
        wandb.termlog(f"Offline run. Upload it later with: wandb login && wandb sync {os.path.dirname(run.dir)}")
    return run


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
