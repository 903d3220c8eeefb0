"""Resume a training of ``TFTrainer`` from a checkpoint."""

from __future__ import annotations

import dataclasses
import logging
import os
from typing import Any

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.data.stream_positions import StreamPosition
from tf_hfwb.fit.stop_after_steps import first_step_of
from tf_hfwb.resume.checkpoint_participants import STREAM
from tf_hfwb.resume.find_checkpoint import find_checkpoint
from tf_hfwb.resume.restore import resume_from, warn_of_other_data
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.resume.trainer_state import TrainerState
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.training_plan import TrainingPlan
from tf_hfwb.trainer.weight_building import build_weights

_logger = logging.getLogger("tf_hfwb")


def parse_resume_source(source: str | os.PathLike[str] | bool | None) -> str | os.PathLike[str] | bool | None:
    """What ``resume_from_checkpoint`` means: a command line gives True and False as words.

    Example:
        >>> parse_resume_source("True"), parse_resume_source("out/checkpoint-5")
        (True, 'out/checkpoint-5')
    """
    if source in ("True", "true"):
        return True
    return False if source in ("False", "false") else source


def find_training_checkpoint(args: TFTrainingArguments, source: str | os.PathLike[str] | bool) -> Checkpoint | None:
    """The checkpoint to resume from; None if True was given and there is none.

    Args:
        args: Where checkpoints are looked for.
        source: Its directory, the name of its artifact, or True for the newest good one.

    Raises:
        CheckpointError: There is none of that name, or it is damaged.
    """
    return find_checkpoint(
        source,
        output_dir=args.output_dir,
        run_name=args.run_name,
        is_tracked="wandb" in (args.report_to or ()),
    )


def training_position(args: TFTrainingArguments, checkpoint: Checkpoint | None) -> Position:
    """Where a training begins in its data.

    Args:
        args: Whether it begins the epoch anew in which the checkpoint was written.
        checkpoint: What it resumes from; None for a fresh start.

    Raises:
        CheckpointError: The checkpoint is damaged, or has no state of a training.
    """
    if checkpoint is None:
        return Position()
    state = TrainerState.read(checkpoint)
    state.check_resumable(checkpoint.path)
    position = state.position
    if args.ignore_data_skip:
        return dataclasses.replace(position, batch=0, batches=position.batches - position.batch)
    return position


def stream_start(checkpoint: Checkpoint | None) -> StreamPosition | None:
    """Where a stream of data can be entered to resume; None where a checkpoint does not say it.

    Raises:
        CheckpointError: The checkpoint is damaged.
    """
    state = {} if checkpoint is None else TrainerState.read(checkpoint).callbacks.get(STREAM)
    return StreamPosition(**state) if state else None


def restore_training(model: Any, checkpoint: Checkpoint, plan: TrainingPlan) -> None:
    """Let the model's next ``fit`` begin where the checkpoint was written.

    Args:
        model: The model, with its optimizer.
        checkpoint: The checkpoint.
        plan: The training that begins there.

    Raises:
        CheckpointError: It is damaged, or does not fit the model.
    """
    start = plan.length.start
    build_weights(model, plan.batches)
    resume_from(model, checkpoint, start)
    warn_of_other_data(checkpoint, plan.checkpoint_arguments)
    # With all steps done, the fit ends before its first step, and the callbacks still do what they do at the end.
    if start.step >= first_step_of(checkpoint) + plan.length.steps:
        _logger.warning(
            "%s has all %d steps already: nothing is trained. To go on, raise num_train_epochs or max_steps.",
            checkpoint.path,
            plan.length.steps,
        )
