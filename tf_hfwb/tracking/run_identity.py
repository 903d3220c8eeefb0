"""Which run a training belongs to: the open one, one of its own, or its earlier one, which made way for another.

A run that we open is that of one training, in however many fits: of one model, under one name, with steps that go on.
Where another one begins, the run ends. When the first goes on, so does its run. A run of the user's is used as it is.
"""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from tf_hfwb.tracking.process_tracker import current_tracker
from tf_hfwb.tracking.tracker import Tracker

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class Use:
    """A training, an evaluation or a prediction that needs a run.

    Attributes:
        model: The model.
        name: The run's name, if one is asked for.
        project: The run's project, if one is asked for.
        fit: What all callbacks of a fit have in common and no two fits; None outside of a fit.
        step: The global step at which the fit begins.
        run: What finds the run of the checkpoint with which it goes on, its ``id`` among it; empty without one.
    """

    model: Any
    name: str | None = None
    project: str | None = None
    fit: Any = None
    step: int = 0
    run: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Uses:
    """Those of one run.

    Attributes:
        name: The name that the first training asked for, or before there is one, the first use.
        project: Likewise the project.
        fit: The newest fit.
        model: The model that was trained last.
        models: All that were trained.
        is_told: Whether the user knows that there are several trainings in it.
    """

    name: str | None
    project: str | None
    fit: Any = None
    model: weakref.ref[Any] | None = None
    models: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)
    is_told: bool = False


_uses: weakref.WeakKeyDictionary[Tracker, _Uses] = weakref.WeakKeyDictionary()
# Of each model the run of its last training.
_of_models: weakref.WeakKeyDictionary[Any, Tracker] = weakref.WeakKeyDictionary()


def make_way(use: Use) -> Mapping[str, str]:
    """End the open run if it is another training's, and say so where it cannot end.

    Returns:
        What finds the run with which ``use`` goes on, as :attr:`Tracker.identity`; empty for the run that is open from
        now on, or a new one.
    """
    tracker = current_tracker()
    goes_on_with = use.run or _earlier(use, tracker)
    if not tracker.active:
        return use.run if _is_run_open() else goes_on_with
    uses = _uses.get(tracker)
    is_begun = uses is not None and uses.fit is not None
    is_same_fit = uses is not None and is_begun and uses.fit is use.fit
    if goes_on_with and tracker.run.id == goes_on_with["id"]:
        return goes_on_with
    if is_same_fit or (not goes_on_with and _belongs(use, tracker)):
        return {}
    obstacle = _obstacle(tracker, use)
    if obstacle is None:
        tracker.make_way()
        return goes_on_with
    if use.fit is not None and uses is not None and is_begun and not uses.is_told:
        uses.is_told = True
        _logger.warning(
            "A second training goes into the W&B run %r, %s: rows and artifacts of both are in it. Expected a run for "
            "each training. %s This is said once for a run.",
            tracker.identity.get("name") or tracker.run.id,
            *obstacle,
        )
    return {}


def _earlier(use: Use, tracker: Tracker) -> Mapping[str, str]:
    """The run of the model's last training, if that had to make way and ``use`` belongs to it."""
    mine = _of_models.get(use.model)
    return mine.made_way_as if mine is not None and mine is not tracker and _belongs(use, mine) else {}


def note(tracker: Tracker, use: Use) -> None:
    """Remember whose run it is, and give back what an earlier part of it knew.

    Args:
        tracker: The run that was opened for it.
        use: The training, evaluation or prediction.
    """
    if not tracker.active:
        return
    mine = _of_models.get(use.model)
    goes_on = mine is not None and mine.made_way_as.get("id", "") == tracker.run.id
    if tracker not in _uses:
        earlier = _uses.get(mine) if goes_on and mine is not None else None
        _uses[tracker] = earlier or _Uses(use.name, use.project)
    if goes_on and mine is not None:
        tracker.take_over(mine)
        _of_models[use.model] = tracker
    uses = _uses[tracker]
    if use.fit is None or use.fit is uses.fit:
        return
    if uses.fit is None:
        uses.name, uses.project = use.name or uses.name, use.project or uses.project
    uses.fit, uses.model = use.fit, weakref.ref(use.model)
    uses.models.add(use.model)
    tracker.trained_to = use.step
    _of_models[use.model] = tracker


def is_under_way(model: Any) -> bool:
    """Whether a thread is in the model's ``fit``, of whose end by an exception no callback is told."""
    for frame in sys._current_frames().values() if model is not None else ():
        at: FrameType | None = frame
        while at is not None:
            if at.f_code.co_name == "fit" and at.f_locals.get("self") is model:
                return True
            at = at.f_back
    return False


def _belongs(use: Use, tracker: Tracker) -> bool:
    """Whether it may be part of the run's training."""
    uses = _uses.get(tracker)
    has_trained = uses is not None and uses.fit is not None
    if not has_trained and not tracker.owned:
        return True
    known = [] if uses is None else [(uses.name, uses.project)]
    if tracker.owned:  # As W&B has named it.
        run = tracker.made_way_as or tracker.identity
        known.append((run.get("name"), run.get("project")))
    names, projects = zip(*known, strict=True)
    if use.name not in (None, *names) or use.project not in (None, *projects):
        return False
    if use.fit is None or uses is None or not has_trained:
        return True
    tracker.flush_rows()
    if use.step < tracker.trained_to:
        return False
    return use.step > 0 or uses.model is None or uses.model() is use.model


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


def _is_run_open() -> bool:
    return getattr(sys.modules.get("wandb"), "run", None) is not None
