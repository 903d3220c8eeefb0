"""The tracker of this process: that of the run that is open, which is taken over from the user or opened."""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from tf_hfwb.settings import Settings
from tf_hfwb.tracking.run_history import STEP
from tf_hfwb.tracking.run_opening import open_wandb_run
from tf_hfwb.tracking.tracker import Tracker

_logger = logging.getLogger("tf_hfwb")
_current = Tracker()


def current_tracker() -> Tracker:
    """The tracker that :func:`open_tracker` opened last; one without a run when there is none, or it has ended."""
    global _current
    if _current.active and sys.modules["wandb"].run is not _current.run:  # The user has finished it.
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
    may_repeat: bool = True,
    from_step: int = 0,
) -> Tracker:
    """The tracker of the running W&B run; opens one when there is none.

    Args:
        settings: Project, mode and whether tracking is disabled.
        name: The name of a run that we open; W&B finds one when None.
        config: Merged into the run's config.
        chief: Whether this process speaks for all workers; others get a tracker without a run.
        run_id: The run of a training that is resumed. A run that we open, or opened for another training, continues
            it, unless ``WANDB_RUN_ID`` says otherwise; a run of the user's is used as it is.
        entity: The user or team of that run, unless ``WANDB_ENTITY`` says otherwise.
        may_repeat: Whether that training repeats steps, as from a checkpoint: rows that the run has already are left
            out from then on.
        from_step: The global step from which on it repeats them: nothing before it is read of the run's history.
    """
    global _current
    if settings.disabled:
        _warn_that_it_is_disabled()
        return Tracker()
    if not chief:
        return Tracker()
    import wandb

    if run_id is not None:
        _end_other_run(run_id)
    if wandb.run is None or _current.run is not wandb.run:
        _current.close()
        if wandb.run is None:
            is_new = run_id is None and _current.is_superseded
            _current = Tracker(open_wandb_run(settings, name, run_id, entity, is_new=is_new), owned=True)
        else:
            _current = Tracker(wandb.run)
        if _current.active:
            _current.start()
    if _current.active:
        _current.end.reset_deadline()
        _define_metrics(_current.run)
        if run_id is not None and may_repeat:
            _current.skip_logged(from_step)
        _current.update_config(config or {})
    return _current


def _end_other_run(run_id: str) -> None:
    """End a run that we opened, if it is not the one to be resumed."""
    import wandb

    if _current.active and _current.owned and _current.run is wandb.run:
        wanted = wandb.setup().settings.run_id or run_id
        if wandb.run.id != wanted:
            _current.end_for_another_training()


@functools.cache  # Once in a process, however many callbacks and fits there are.
def _warn_that_it_is_disabled() -> None:
    warnings.warn(
        "WANDB_DISABLED is set: no W&B run is opened and nothing is logged. It is deprecated; "
        'write report_to="none", or set WANDB_MODE=disabled, and unset WANDB_DISABLED.',
        FutureWarning,
        stacklevel=3,
    )


def _define_metrics(run: Any) -> None:
    try:
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
    except Exception as error:
        _logger.warning("Defining the W&B metrics failed (%s: %s).", type(error).__name__, error)
