"""Which run a training belongs to: the open one, one of its own, or its earlier one, which made way for another.

A run that we open is that of one training, in however many fits: of one model, under one name, with steps that
continue. Where another training begins, the run ends; when the first training continues, its run is resumed. The
evaluation of a model that was not trained has a run of its own, too. A run of the user's is used as it is.
"""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tf_hfwb.call_stack import calls_of
from tf_hfwb.tracking import wandb_private
from tf_hfwb.tracking.process_tracker import current_tracker
from tf_hfwb.tracking.run_end import ANSWER_TIMEOUT
from tf_hfwb.tracking.tracker import Tracker
from tf_hfwb.tracking.user_runs import run_in_process

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class Use:
    """A training, an evaluation or a prediction that needs a run.

    Attributes:
        model: The model.
        name: The run's name, if one is asked for.
        project: The run's project, if one is asked for.
        entity: The run's user or team, if one is asked for.
        fit: What all callbacks of a fit have in common and no two fits; None outside of a fit.
        step: The global step at which the fit begins.
        run: What finds the run of the checkpoint that is resumed, its ``id`` among it; empty without one.
    """

    model: Any
    name: str | None = None
    project: str | None = None
    entity: str | None = None
    fit: Any = None
    step: int = 0
    run: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Uses:
    """The uses of one run.

    Attributes:
        name: The name that the first training asked for, or before there is one, the first use.
        project: Likewise the project.
        entity: Likewise the user or team.
        fit: The newest fit.
        model: The model that was trained last.
        models: All that were trained.
        has_warned: Whether the user knows that there are several trainings in it.
    """

    name: str | None
    project: str | None
    entity: str | None
    fit: Any = None
    model: weakref.ref[Any] | None = None
    models: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)
    has_warned: bool = False

    @property
    def has_trained(self) -> bool:
        return self.fit is not None


_uses: weakref.WeakKeyDictionary[Tracker, _Uses] = weakref.WeakKeyDictionary()
# Of each model the run of its last training, or before there is one, of its first evaluation.
_of_models: weakref.WeakKeyDictionary[Any, Tracker] = weakref.WeakKeyDictionary()


def choose_run(use: Use) -> Mapping[str, str]:
    """End the open run if it is another training's, and say so where it cannot end.

    Returns:
        What finds the run to be resumed for ``use``, as :attr:`Tracker.identity`; empty for the run that is open from
        now on, or a new one.
    """
    ended = _end_dead_run(use) if use.fit is not None else {}
    tracker = current_tracker()
    resumed = use.run or ended or _earlier_run(use, tracker)
    if not tracker.active:
        return _resume_without_open_run(use, tracker, resumed)
    uses = _uses.get(tracker)
    is_same_fit = uses is not None and uses.has_trained and uses.fit is use.fit
    if resumed and tracker.run.id == resumed["id"]:
        return resumed
    if is_same_fit or (not resumed and _belongs(use, tracker)):
        return {}
    obstacle = _obstacle(tracker, use)
    if obstacle is None:
        tracker.end_for_another_training()
        return resumed
    if use.fit is not None and uses is not None and uses.has_trained and not uses.has_warned:
        uses.has_warned = True
        _logger.warning(
            "A second training goes into the W&B run %r, %s: rows and artifacts of both are in it. Expected a run for "
            "each training. %s This is said once for a run.",
            tracker.identity.get("name") or tracker.run.id,
            *obstacle,
        )
    return {}


def _end_dead_run(use: Use) -> Mapping[str, str]:
    """End a run whose service has ended, as by ``wandb.teardown()``, before another fit writes into it in vain.

    Returns:
        What finds that run, if there was one and the fit continues its training.
    """
    run, tracker = run_in_process(), current_tracker()
    uses = _uses.get(tracker)
    is_same_fit = uses is not None and uses.fit is use.fit
    if run is None or is_same_fit or wandb_private.service_answers(run, ANSWER_TIMEOUT):
        return {}
    is_its_own = tracker.run is run
    resumed = tracker.identity if is_its_own and _belongs(use, tracker) else {}
    _logger.warning(
        "W&B's client no longer writes the run %r, as after wandb.teardown(): it ends here, and the training that "
        "begins opens a run. Expected wandb.finish() before wandb.teardown().",
        run.name or run.id,
    )
    if is_its_own:
        tracker.end_for_another_training()
    wandb_private.forget_run(run)
    return resumed


def _resume_without_open_run(use: Use, tracker: Tracker, resumed: Mapping[str, str]) -> Mapping[str, str]:
    if run_in_process() is not None:  # The user's, which is used as it is.
        return use.run
    if tracker in _uses and not resumed and not _belongs(use, tracker):
        tracker.is_superseded = True
    return resumed


def _earlier_run(use: Use, tracker: Tracker) -> Mapping[str, str]:
    """The run of the model's last training, if that had to make way and ``use`` belongs to it."""
    earlier = _of_models.get(use.model)
    if earlier is None or earlier is tracker or not _belongs(use, earlier):
        return {}
    return earlier.ended_identity


def note_use(tracker: Tracker, use: Use) -> None:
    """Remember whose run it is, and give back what an earlier part of it knew.

    Args:
        tracker: The run that was opened for it.
        use: The training, evaluation or prediction.
    """
    if not tracker.active:
        return
    earlier = _of_models.get(use.model)
    if earlier is not None and earlier.ended_identity.get("id", "") != tracker.run.id:
        earlier = None
    if tracker not in _uses:
        known = None if earlier is None else _uses.get(earlier)
        _uses[tracker] = known or _Uses(use.name, use.project, use.entity)
    if earlier is not None:
        tracker.take_over(earlier)
        _of_models[use.model] = tracker
    uses = _uses[tracker]
    if use.fit is not None and use.fit is not uses.fit:
        _note_fit(tracker, uses, use)
    elif use.fit is None and not uses.has_trained:
        _of_models.setdefault(use.model, tracker)


def _note_fit(tracker: Tracker, uses: _Uses, use: Use) -> None:
    if not uses.has_trained:
        uses.name = use.name or uses.name
        uses.project = use.project or uses.project
        uses.entity = use.entity or uses.entity
    uses.fit, uses.model = use.fit, weakref.ref(use.model)
    uses.models.add(use.model)
    tracker.trained_to = use.step
    _of_models[use.model] = tracker


def is_under_way(model: Any) -> bool:
    """Whether a thread is in the model's ``fit``, of whose end by an exception no callback is told."""
    if model is None:
        return False
    frames = sys._current_frames().values()
    return any(True for frame in frames for _ in calls_of(frame, ("fit",), model))


def _belongs(use: Use, tracker: Tracker) -> bool:
    """Whether it may be part of the run's training."""
    uses = _uses.get(tracker)
    has_trained = uses is not None and uses.has_trained
    if not has_trained and not tracker.owned:
        return True
    if not _fits_what_was_asked(use, uses, tracker):
        return False
    if uses is None or not has_trained:
        return True
    if use.fit is None:
        return not tracker.owned or use.name is not None or use.model in uses.models
    tracker.flush_rows()
    if use.step < tracker.trained_to:
        return False
    return use.step > 0 or uses.model is None or uses.model() is use.model


def _fits_what_was_asked(use: Use, uses: _Uses | None, tracker: Tracker) -> bool:
    """Whether name, project and entity, as far as they are asked for, are those of the run."""
    known: list[tuple[str | None, str | None, str | None]] = []
    if uses is not None:
        known.append((uses.name, uses.project, uses.entity))
    if tracker.owned:  # As W&B has named it.
        run = tracker.ended_identity or tracker.identity
        known.append((run.get("name"), run.get("project"), run.get("entity")))
    wanted = (use.name, use.project, use.entity)
    return all(want in (None, *of_run) for want, *of_run in zip(wanted, *known, strict=True))


def _obstacle(tracker: Tracker, use: Use) -> tuple[str, str] | None:
    """Why the run cannot end now, and what to do about it."""
    if not tracker.owned:
        return "which you opened", "End it in between: wandb.finish(), or one `with wandb.init(...):` for each."
    if sys.modules["wandb"].setup().settings.run_id is not None:
        return "because WANDB_RUN_ID names it", "Unset WANDB_RUN_ID, or train in a process for each."
    uses = _uses.get(tracker)
    if uses is not None and any(model is not use.model and is_under_way(model) for model in uses.models):
        return "where the first is still under way", "Train one after the other, or in a process for each."
    return None
