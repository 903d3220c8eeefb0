"""The W&B run of a fit: a new one, or the one of the training that it resumes."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tf_hfwb.dashboards.entry_queue import EntryQueue
from tf_hfwb.errors import SettingError
from tf_hfwb.fit.step_clock import step_reached
from tf_hfwb.keras_compat import host_of
from tf_hfwb.resume.resume_position import resumption_of
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import Tracker, open_tracker
from tf_hfwb.tracking.run_identity import Use, choose_run, is_under_way, note_use
from tf_hfwb.tracking.user_runs import attach, is_users_run_open
from tf_hfwb.tracking.wandb_server import record_pending_uses


class FitLogger(Protocol):
    """A callback that makes rows."""

    @property
    def log_freq(self) -> str | int:
        """When rows are written."""

    @property
    def reports_to_wandb(self) -> bool:
        """Whether a W&B run gets the rows."""

    @property
    def dashboards(self) -> EntryQueue:
        """The dashboards that get them."""

    def open_for_fit(self) -> Tracker:
        """Open the run of the fit, with all its dashboards."""


class FitRun:
    """Whose run a fit has, who makes its rows, and who takes its output directory.

    A callback in front may need the run before the one that knows its name and config has begun. So these announce
    themselves when Keras tells them the parameters of the fit.

    Args:
        params: These parameters: one dict, which is no other fit's.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._loggers: list[FitLogger] = []
        self._claim: Callable[[], None] | None = None

    def announce_logger(self, logger: FitLogger) -> None:
        """Say what makes rows. It opens the run, whose name, project and config it knows.

        Raises:
            SettingError: Two of them would make different rows.
        """
        if any(one is logger for one in self._loggers):
            return
        if self._loggers and self._loggers[0].log_freq != logger.log_freq:
            raise SettingError(
                "log_freq",
                logger.log_freq,
                expected=f"{self._loggers[0].log_freq!r}, as the other logger of this fit has it: rows are made once",
                advice="Give both the same log_freq.",
            )
        self._loggers.append(logger)

    @property
    def logger(self) -> FitLogger | None:
        """What makes the rows: the one with a W&B run, if there is one; None without any."""
        return next((one for one in self._loggers if one.reports_to_wandb), next(iter(self._loggers), None))

    @property
    def dashboards(self) -> EntryQueue:
        """The dashboards of all loggers."""
        return EntryQueue.of([logger.dashboards for logger in self._loggers])

    def announce_claim(self, claim: Callable[[], None]) -> None:
        """Say how the output directory is taken: by the callback that saves there, which raises if it cannot."""
        self._claim = claim

    def claim_directory(self) -> None:
        """Take the output directory. A job that is refused it must not have touched a run before.

        Raises:
            DirectoryInUseError: Another process has it.
        """
        if self._claim is not None:
            self._claim()

    def open(
        self, callback: Any, settings: Settings, *, name: str | None = None, for_artifacts: bool = False
    ) -> Tracker:
        """Open the run of a fit, or take over the one that is open.

        In whichever order the callbacks stand, it is the run that the announced one wants, and the output directory is
        taken first.

        Args:
            callback: The one that needs the run.
            settings: As for :func:`open_run`, if nobody has announced how it is opened.
            name: The name of a new run, likewise.
            for_artifacts: Whether a W&B run is needed, also where rows go to dashboards only.
        """
        self.claim_directory()
        logger = self.logger
        if logger is not None and (logger.reports_to_wandb or not for_artifacts):
            return logger.open_for_fit()
        tracker = open_run(callback, settings, name=name, fit=self._params)
        tracker.dashboards = EntryQueue()  # Those of an earlier fit get nothing of this one.
        return tracker


def follow_training(tracker: Tracker, model: Any, step_now: Callable[[], int]) -> None:
    """Tell the tracker how far the fit is, and whether it is still under way, until :func:`end_training`.

    Args:
        tracker: The run.
        model: The model that is trained.
        step_now: The bound method that gives its global step, to any thread.
    """
    # Weakly: after an exception nobody takes them back, and the model would stay in memory.
    model_there, step_method = weakref.ref(model), weakref.WeakMethod(step_now)

    def step_if_there() -> int | None:
        known = step_method()
        return None if known is None else known()

    tracker.step_now = step_if_there
    tracker.has_died = lambda: not is_under_way(model_there())


def end_training(tracker: Tracker) -> None:
    """The fit has ended as it should."""
    tracker.trained_to = tracker.step_now() or tracker.trained_to
    tracker.step_now = lambda: None
    tracker.has_died = lambda: False


def open_run(
    callback: Any,
    settings: Settings,
    *,
    fit: Mapping[str, Any] | None = None,
    initial_step: int = 0,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Tracker:
    """Open it, or take over the one that is open, if that is the training's own or the user's.

    Args:
        callback: The one that needs the run.
        settings: Project and mode; where no project is given, a restored training's own counts.
        fit: The parameters of the fit that needs it; None for an evaluation or a prediction outside of one.
        initial_step: The global step at which training starts, when the optimizer's counter does not know it.
        name: The run's name, if it is to have a certain one.
        config: Merged into the run's config, on top of what is known of the model.
    """
    host = host_of(callback.model)
    resumption = resumption_of(host.model)
    run: Mapping[str, str] = {} if resumption is None else resumption.run
    if settings.run_id is not None and not is_users_run_open():
        run = {"id": settings.run_id}
    use = Use(
        host.model,
        name=name or settings.run_name,
        project=settings.project if settings.is_project_given else None,
        entity=settings.entity,
        run=run if run.get("id") else {},
    )
    if fit is not None:
        reached = None if resumption is None else resumption.position.step
        step = step_reached(host, initial_step, reached)
        use = dataclasses.replace(use, fit=fit, step=step)
    if host.is_chief and not settings.disabled:
        run = choose_run(use)
    if not settings.is_project_given and run.get("project"):
        settings = dataclasses.replace(settings, project=run["project"])
    tracker = open_tracker(
        settings,
        name=name or run.get("name") or settings.run_name,
        config={**host.describe(), **(config or {})},
        chief=host.is_chief,
        run_id=run.get("id"),
        entity=run.get("entity"),
        may_repeat=bool(use.run),
        from_step=0 if resumption is None else resumption.position.step,
    )
    note_use(tracker, use)
    attach(tracker)
    record_pending_uses(tracker)
    return tracker
