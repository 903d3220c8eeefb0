"""The best checkpoint of a training that continues in another output directory."""

from __future__ import annotations

import contextlib
import pathlib

from tf_hfwb.checkpoint.step_names import checkpoint_name
from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.errors import CheckpointError
from tf_hfwb.resume.trainer_state import TrainerState


def carry_over(store: Store, source: pathlib.Path, step: int, metric: str | None, value: float) -> bool:
    """Take along the best checkpoint of a training that continues in another directory, by links where possible.

    Args:
        store: The directory in which training continues.
        source: The checkpoint from which it resumes.
        step: The step of the best one.
        metric: What tells the best.
        value: Its best value.

    Returns:
        Whether it lies here now.
    """
    if metric is None:
        return False
    target = store.path / checkpoint_name(step)
    for path in (target, source, source.with_name(target.name)):
        try:
            best = Checkpoint.open(path)
            state = TrainerState.read(best)
            if state.global_step != step or state.metrics.get(metric) != value:
                continue
            best.verify()
            if path != target:
                with store.draft(target.name) as draft:
                    for name, entry in best.files.items():
                        with contextlib.nullcontext() if entry.is_needed else contextlib.suppress(CheckpointError):
                            draft.reuse(name, best)
                    draft.commit()
        except CheckpointError:
            continue
        return True
    return False
