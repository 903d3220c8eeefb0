"""The W&B run of a model's training: a new one, or the one with which a restored training goes on."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.fit.step_clock import StepClock
from tf_hfwb.keras_compat import host_of
from tf_hfwb.resume.resume_position import resumption_of
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import Tracker, open_tracker
from tf_hfwb.tracking.run_identity import Use, choose_run, is_under_way, note_use
from tf_hfwb.tracking.user_runs import attach
from tf_hfwb.tracking.wandb_server import record_pending_uses

# Of each model the newest fit, as Keras's params of it, in which a callback says what the run is to be, and how.
_openers: weakref.WeakKeyDictionary[Any, tuple[Any, weakref.WeakMethod[Callable[[], Tracker]]]] = (
    weakref.WeakKeyDictionary()
)
# Likewise the one in which a callback takes its output directory, and how.
_claims: weakref.WeakKeyDictionary[Any, tuple[Any, weakref.WeakMethod[Callable[[], None]]]] = (
    weakref.WeakKeyDictionary()
)


def announce(callback: Any, opener: Callable[[], Tracker]) -> None:
    """Tell the other callbacks of a fit who opens its run, before any of them has begun.

    Args:
        callback: The one that knows the run's name, project and config.
        opener: Its method that opens the run.
    """
    if callback.model is not None:
        _openers[callback.model] = callback.params, weakref.WeakMethod(opener)


def announce_claim(callback: Any, claim: Callable[[], None]) -> None:
    """Tell the other callbacks of a fit who takes its output directory, before any of them has begun.

    Args:
        callback: The one that saves.
        claim: Its method that takes the directory, or raises.
    """
    if callback.model is not None:
        _claims[callback.model] = callback.params, weakref.WeakMethod(claim)


def claim_directory(callback: Any) -> None:
    """Take the output directory of the fit that begins. A job that is refused it must not have touched a run before.

    Args:
        callback: The one that is about to open the run.

    Raises:
        DirectoryInUseError: Another process has it.
    """
    params, claim = _claims.get(callback.model, (None, None))
    announced = claim() if claim is not None and params is callback.params else None
    if announced is not None:
        announced()


def begin_training(callback: StepCallback, tracker: Tracker) -> None:
    """Tell the run's tracker how far the fit is, and whether it is still under way, until :func:`end_training`.

    Args:
        callback: One whose ``on_train_begin`` has run.
        tracker: The run.
    """
    # Weakly: after an exception nobody takes them back, and the model would stay in memory.
    model, method = weakref.ref(callback.model), weakref.WeakMethod(callback.step_now)

    def step_now() -> int | None:
        known = method()
        return None if known is None else known()

    tracker.step_now = step_now
    tracker.has_died = lambda: not is_under_way(model())


def end_training(tracker: Tracker) -> None:
    """The fit has ended as it should."""
    tracker.trained_to = tracker.step_now() or tracker.trained_to
    tracker.step_now = lambda: None
    tracker.has_died = lambda: False


def open_fit_run(callback: Any, settings: Settings, *, name: str | None = None) -> Tracker:
    """Open the run of a fit, or take over the one that is open.

    In whichever order the callbacks stand, it is the run that the one announced by :func:`announce` wants, and the
    output directory is taken first.

    Args:
        callback: The one that needs the run.
        settings: As for :func:`open_run`, if none is announced.
        name: The name of a new run, if none is announced.
    """
    claim_directory(callback)
    params, opener = _openers.get(callback.model, (None, None))
    announced = opener() if opener is not None and params is callback.params else None
    return open_run(callback, settings, name=name, is_training=True) if announced is None else announced()


def open_run(
    callback: Any,
    settings: Settings,
    *,
    is_training: bool,
    initial_step: int = 0,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Tracker:
    """Open it, or take over the one that is open, if that is the training's own or the user's.

    Args:
        callback: The one that needs the run.
        settings: Project and mode; where no project is given, a restored training's own counts.
        is_training: Whether it is needed by a fit, or by an evaluation or a prediction outside of one.
        initial_step: The global step at which training starts, when the optimizer's counter does not know it.
        name: The run's name, if it is to have a certain one.
        config: Merged into the run's config, on top of what is known of the model.
    """
    host = host_of(callback.model)
    resumption = resumption_of(host.model)
    run: Mapping[str, str] = {} if resumption is None else resumption.run
    use = Use(
        host.model,
        name=name or settings.run_name,
        project=settings.project if settings.is_project_given else None,
        entity=settings.entity,
        run=run if run.get("id") else {},
    )
    if is_training:
        reached = None if resumption is None else resumption.position.step
        clock = StepClock(host, initial_step=initial_step, resumed_step=reached)
        use = dataclasses.replace(use, fit=callback.params, step=clock.step)
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
    )
    note_use(tracker, use)
    attach(tracker)
    record_pending_uses(tracker)
    return tracker
