"""The W&B run of a model's training: a new one, or the one with which a restored training goes on."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.keras_compat import Host, host_of
from tf_hfwb.resumption import resumption_of
from tf_hfwb.settings import DEFAULT_PROJECT, Settings
from tf_hfwb.tracking import Tracker, open_tracker
from tf_hfwb.tracking.attached import flush_before_end
from tf_hfwb.tracking.server import record_pending_uses

# Of each model the newest fit, as Keras's params of it, in which a callback says what the run is to be, and how.
_openers: weakref.WeakKeyDictionary[Any, tuple[Any, weakref.WeakMethod[Callable[[], Tracker]]]] = (
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


def open_fit_run(callback: Any, settings: Settings, *, name: str | None = None) -> Tracker:
    """Open the run of a fit, or take over the one that is open.

    In whichever order the callbacks stand, it is the run that the one announced by :func:`announce` wants.

    Args:
        callback: The one that needs the run.
        settings: As for :func:`open_run`, if none is announced.
        name: The name of a new run, if none is announced.
    """
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
    flush_before_end(tracker)
    record_pending_uses(tracker)
    return tracker
