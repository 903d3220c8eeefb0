"""Runs that somebody else opens or ends: what we know of them, and what they still get."""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Mapping
from typing import Any

from tf_hfwb.settings import Settings
from tf_hfwb.tracking.run_history import STEP
from tf_hfwb.tracking.tracker import Tracker, current_tracker

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


def attach(tracker: Tracker) -> None:
    """Let the run's end wait for what was submitted, and rows of the user's get the step, whoever does it.

    After an exception in ``fit`` no callback is called, and ``wandb.finish()`` or the end of ``with wandb.init()``
    follows: what the workers still hold would be lost. The places where the client keeps what is to be done at the
    end, and takes a row, are private to it; a version without them does as it always did.
    """
    if tracker.run is None or tracker in _prepared:
        return
    _prepared.add(tracker)
    _fill_in_steps(tracker)
    hooks = getattr(tracker.run, "_teardown_hooks", None)
    if isinstance(hooks, list):
        from wandb.sdk.wandb_run import TeardownHook, TeardownStage

        hooks.insert(0, TeardownHook(tracker.before_end, TeardownStage.EARLY))
        hooks.append(TeardownHook(tracker.after_end, TeardownStage.LATE))


def _fill_in_steps(tracker: Tracker) -> None:
    """Give a row without a step the one that the training has reached when it is logged.

    The client would fill in that of the last row that it has, which is older: ours wait for a worker.
    """
    log = getattr(tracker.run, "_log", None)
    if log is None:
        return

    def log_with_step(data: Any, *args: Any, **options: Any) -> None:
        if isinstance(data, Mapping) and STEP not in data:
            step = tracker.step_now()
            data = data if step is None else {**data, STEP: step}
        log(data, *args, **options)

    tracker.run._log = log_with_step


def _open_run() -> Any:
    return getattr(sys.modules.get("wandb"), "run", None)
