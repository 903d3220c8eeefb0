"""The W&B run of a model's training: a new one, or the one with which a restored training goes on."""

from __future__ import annotations

import dataclasses
import sys
import weakref
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from tf_hfwb.callbacks.step import StepCallback
from tf_hfwb.keras_compat import Host, host_of
from tf_hfwb.resumption import resumption_of
from tf_hfwb.settings import DEFAULT_PROJECT, Settings
from tf_hfwb.tracking import Tracker, open_tracker
from tf_hfwb.tracking.attached import attach
from tf_hfwb.tracking.server import record_pending_uses

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
    tracker.has_died = lambda: not _is_under_way(model())


def end_training(tracker: Tracker) -> None:
    """The fit has ended as it should."""
    tracker.step_now = lambda: None
    tracker.has_died = lambda: False


def _is_under_way(model: Any) -> bool:
    """Whether a thread is in the model's ``fit``, of whose end by an exception no callback is told."""
    for frame in sys._current_frames().values() if model is not None else ():
        at: FrameType | None = frame
        while at is not None:
            if at.f_code.co_name == "fit" and at.f_locals.get("self") is model:
                return True
            at = at.f_back
    return False


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
    return open_run(host_of(callback.model), settings, name=name) if announced is None else announced()


def open_run(
    host: Host, settings: Settings, *, name: str | None = None, config: Mapping[str, Any] | None = None
) -> Tracker:
    """Open it, or take over the one that is open.

    Args:
        host: The model.
        settings: Project and mode; where the project is the default one, a restored training's own counts.
        name: The name of a new run.
        config: Merged into the run's config, on top of what is known of the model.
    """
    resumption = resumption_of(host.model)
    run = {} if resumption is None else resumption.run
    if settings.project == DEFAULT_PROJECT and run.get("project"):
        settings = dataclasses.replace(settings, project=run["project"])
    tracker = open_tracker(
        settings,
        name=name or run.get("name"),
        config={**host.describe(), **(config or {})},
        chief=host.is_chief,
        run_id=run.get("id"),
        entity=run.get("entity"),
    )
    attach(tracker)
    record_pending_uses(tracker)
    return tracker
