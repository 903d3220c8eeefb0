"""The W&B run of a fit: a new one, or the one of the training that it resumes."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.fit.step_clock import step_reached
from tf_hfwb.keras_compat import host_of
from tf_hfwb.resume.resume_position import resumption_of
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import Tracker, open_tracker
from tf_hfwb.tracking.run_identity import Use, choose_run, is_under_way, note_use
from tf_hfwb.tracking.user_runs import attach
from tf_hfwb.tracking.wandb_server import record_pending_uses


class FitRun:
    """Whose run a fit has, and who takes its output directory.

    A callback in front may need the run before the one that knows its name and config has begun. So these announce
    themselves when Keras tells them the parameters of the fit.

    Args:
        params: These parameters: one dict, which is no other fit's.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._open: Callable[[], Tracker] | None = None
        self._claim: Callable[[], None] | None = None

    def announce_opener(self, open_it: Callable[[], Tracker]) -> None:
        """Say how the run is opened: by the callback that knows its name, project and config."""
        self._open = open_it

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

    def open(self, callback: Any, settings: Settings, *, name: str | None = None) -> Tracker:
        """Open the run of a fit, or take over the one that is open.

        In whichever order the callbacks stand, it is the run that the announced one wants, and the output directory is
        taken first.

        Args:
            callback: The one that needs the run.
            settings: As for :func:`open_run`, if nobody has announced how it is opened.
            name: The name of a new run, likewise.
        """
        self.claim_directory()
        if self._open is not None:
            return self._open()
        return open_run(callback, settings, name=name, fit=self._params)


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
    if settings.run_id is not None:
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
