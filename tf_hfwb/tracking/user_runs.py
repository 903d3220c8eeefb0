"""Runs that somebody else opens or ends: what we know of them, and what they still get."""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Mapping
from typing import Any

from tf_hfwb.settings import Settings
from tf_hfwb.tracking.process_tracker import current_tracker
from tf_hfwb.tracking.run_history import STEP
from tf_hfwb.tracking.tracker import Tracker
from tf_hfwb.tracking.wandb_private import call_around_end, complete_rows

_logger = logging.getLogger("tf_hfwb")
_attached: weakref.WeakSet[Tracker] = weakref.WeakSet()


def running_tracker() -> Tracker:
    """The tracker of the run that is open now; one without a run if there is none, or none of ours writes to it."""
    tracker = current_tracker()
    return tracker if tracker.active and tracker.run is run_in_process() else Tracker()


def log_in_open_run(row: Mapping[str, Any]) -> None:
    """Write a row into the open run, if we write to it."""
    tracker = running_tracker()
    if tracker.active:
        tracker.submit(tracker.log, dict(row))


def summarize_open_run(values: Mapping[str, Any]) -> None:
    """Set values of the open run's summary, whoever opened it; without one nothing happens, and none is opened."""
    tracker, run = running_tracker(), run_in_process()
    if tracker.active:
        tracker.submit(tracker.summarize, values)
        tracker.flush_rows()
    elif run is not None and not Settings.resolve().disabled:
        try:
            run.summary.update(dict(values))
        except Exception as error:
            _logger.warning("Writing to the W&B run failed (%s: %s).", type(error).__name__, error)


def is_users_run_open() -> bool:
    """Whether a run is open that is not ours."""
    tracker, run = current_tracker(), run_in_process()
    return run is not None and not (tracker.owned and tracker.run is run)


def attach(tracker: Tracker) -> None:
    """Let the run's end wait for what was submitted, and give rows of the user's own the step, whoever does it.

    After an exception in ``fit`` no callback is called, and ``wandb.finish()`` or the end of ``with wandb.init()``
    follows: what the workers still hold would be lost.
    """
    if tracker.directory is None or tracker in _attached:
        return
    _attached.add(tracker)

    def complete(row: Mapping[str, Any]) -> Mapping[str, Any]:
        # The client would fill in the step of the last row that it has. That is older: ours wait for a worker.
        step = tracker.step_now() if STEP not in row else None
        return row if step is None else {**row, STEP: step}

    complete_rows(tracker.run, complete)
    call_around_end(tracker.run, tracker.before_end, tracker.after_end)


def run_in_process() -> Any:
    """The run that is open, whoever has opened it; None without one. W&B's client is not imported for it."""
    return getattr(sys.modules.get("wandb"), "run", None)
