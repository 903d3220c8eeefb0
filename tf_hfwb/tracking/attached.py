"""Runs that somebody else opens or ends: what we know of them, and what they still get."""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Mapping
from typing import Any

from tf_hfwb.settings import Settings
from tf_hfwb.tracking.run import Tracker, current_tracker

_logger = logging.getLogger("tf_hfwb")
_prepared: weakref.WeakSet[Tracker] = weakref.WeakSet()


def running_tracker() -> Tracker:
    """The tracker of the run that is open now; one without a run if there is none, or none of ours writes to it."""
    tracker = current_tracker()
    return tracker if tracker.active and tracker.run is _open_run() else Tracker()


def summarize_open_run(values: Mapping[str, Any]) -> None:
    """Set values of the open run's summary, whoever opened it; without one nothing happens, and none is opened."""
    tracker, run = running_tracker(), _open_run()
    if tracker.active:
        tracker.submit(tracker.summarize, values)
        tracker.flush_rows()
    elif run is not None and not Settings.resolve().disabled:
        try:
            run.summary.update(dict(values))
        except Exception as error:
            _logger.warning("Writing to the W&B run failed (%s: %s).", type(error).__name__, error)


def flush_before_end(tracker: Tracker) -> None:
    """Let the end of the run wait for what was submitted, whoever ends it.

    After an exception in ``fit`` no callback is called, and ``wandb.finish()`` or the end of ``with wandb.init()``
    follows: what the workers still hold would be lost. The place where the client keeps what is to be done before the
    end is private to it; a version without it ends as it always did.
    """
    hooks = getattr(tracker.run, "_teardown_hooks", None)
    if not isinstance(hooks, list) or tracker in _prepared:
        return
    from wandb.sdk.wandb_run import TeardownHook, TeardownStage

    _prepared.add(tracker)
    hooks.insert(0, TeardownHook(tracker.flush, TeardownStage.EARLY))


def _open_run() -> Any:
    return getattr(sys.modules.get("wandb"), "run", None)
