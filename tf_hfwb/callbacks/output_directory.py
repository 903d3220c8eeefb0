"""What lies in an output directory when a training begins to save there: its own checkpoints, or another one's."""

from __future__ import annotations

import logging
import pathlib

from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.errors import CheckpointError, CorruptCheckpointError, SettingError
from tf_hfwb.training_state import metrics_of

_logger = logging.getLogger("tf_hfwb")


def require_room(store: Store, shown: str, step: int, *, overwrite: bool = False) -> None:
    """See that no checkpoint lies there of a later step than the one at which a training begins.

    It would be another training's, and yet count as the newest: ``save_total_limit`` would remove those of this
    training, and the next one to resume would go on with the other. Damaged ones do not count.

    Args:
        store: The output directory.
        shown: Its name as the user wrote it.
        step: Where training begins.
        overwrite: Remove such checkpoints; the caller holds the directory's lock.

    Raises:
        SettingError: There is one, and it is not to be removed.
    """
    try:
        later = [checkpoint for checkpoint in store.checkpoints() if (checkpoint.step or 0) > step]
    except OSError:  # The first save will say what is wrong.
        return
    if later and overwrite:
        store.remove(later)
        _logger.warning("overwrite_output_dir=True: removed the checkpoints of steps %s from %s.", _steps(later), shown)
    elif any(_is_whole(checkpoint) for checkpoint in reversed(later)):
        raise SettingError(
            "output_dir",
            shown,
            expected=f"a directory without checkpoints of later steps than {step}, where this training begins: there "
            f"are some of steps {_steps(later)}, of another training or of an interrupted one",
            advice="To go on with that one, call train(resume_from_checkpoint=True), or before fit "
            f"restore(model, True, output_dir={shown!r}). Else choose another directory, or have them removed with "
            "overwrite_output_dir=True.",
        )


def carry_over(store: Store, source: pathlib.Path, step: int, metric: str | None, value: float) -> bool:
    """Take the best checkpoint of a training along that goes on in another directory, by links where it can.

    Args:
        store: Where training goes on.
        source: The checkpoint from which it goes on.
        step: The step of the best one.
        metric: What tells the best.
        value: Its best value.

    Returns:
        Whether it lies here now.
    """
    if metric is None:
        return False
    target = store.path / f"checkpoint-{step}"
    for path in (target, source, source.with_name(target.name)):
        try:
            best = Checkpoint.open(path)
            if best.read_json("trainer_state.json")["global_step"] != step or metrics_of(best).get(metric) != value:
                continue
            best.verify()
            if path != target:
                with store.draft(target.name) as draft:
                    for name in best.files:
                        draft.reuse(name, best)
                    draft.commit()
        except (CheckpointError, KeyError):
            continue
        return True
    return False


def _is_whole(checkpoint: Checkpoint) -> bool:
    try:
        checkpoint.verify()
    except CorruptCheckpointError:
        return False
    return True


def _steps(checkpoints: list[Checkpoint]) -> str:
    steps = [str(checkpoint.step) for checkpoint in checkpoints]
    return ", ".join(steps if len(steps) < 6 else [*steps[:2], "...", *steps[-2:]])
