"""``restore``: a model's next ``fit`` continues the training that a checkpoint was taken of."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from tf_hfwb.checkpoint.manifest import LOOKS
from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.errors import CheckpointError, SettingError
from tf_hfwb.keras_compat import Host, host_of
from tf_hfwb.messages import inform
from tf_hfwb.resume.find_checkpoint import find_checkpoint
from tf_hfwb.resume.restore_state import restore_state
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.resume.trainer_state import TrainerState

_logger = logging.getLogger("tf_hfwb")

# The arguments on which the position in the data depends.
_DATA_ARGUMENTS = (
    *("train_batch_size", "train_dataset/num_samples", "dataloader_drop_last", "seed", "data_seed"),
    *("group_by_length", "length_column_name"),
)


def restore(
    model: Any, source: str | os.PathLike[str] | bool = True, *, output_dir: str | os.PathLike[str] | None = None
) -> Position:
    """Let the model's next ``fit`` continue a training exactly where a checkpoint was taken.

    Restores the weights, the optimizer with its schedule, the random generators, and the metrics of the epoch and of
    the log, and attaches the same W&B run. All of that belongs to the next ``fit`` that trains: ``evaluate`` and
    ``predict`` before it, or a ``fit`` that fails before its first step, change nothing. Arrays (with
    ``shuffle=False``) and data of which Keras makes one pass an epoch begin at the right batch by themselves. A stream
    is yours to start, as in the example.

    Args:
        model: A model that is built and compiled as it was when the checkpoint was written.
        source: A checkpoint's directory; a directory with checkpoints in it, whose newest undamaged one is taken; the
            name of an artifact, such as ``"checkpoint-my-run:best"``, which is downloaded from W&B if need be; or True
            for the newest one in ``output_dir``, else the one that the run (``WANDB_NAME`` or ``WANDB_RUN_ID``) has on
            W&B, where finding none means a fresh start.
        output_dir: Where the checkpoints are, for True.

    Returns:
        The position at which ``fit`` continues; false when it is a fresh start.

    Raises:
        NotACheckpointError: There is no checkpoint at ``source``, or a model without the state of a training.
        CorruptCheckpointError: The checkpoint that was named is damaged. In a directory of several the newest undamaged
            one is taken instead, with a warning, which also says when that may be of another training.
        DirectoryInUseError: Another process saves there, and removes each checkpoint before it can be read.
        ArtifactNotFoundError: There is no artifact of that name.
        ServerError: W&B cannot be asked for it, and it was not logged on this machine.
        StateMismatchError: It does not fit the model; nothing has been changed then.

    Example:
        A stream of data, given to ``fit`` batch by batch, begins where the position says:

        >>> import tempfile
        >>> import keras
        >>> import numpy as np
        >>> from tf_hfwb import WandbModelCheckpoint, training_batches
        >>> directory = tempfile.TemporaryDirectory()
        >>> data = np.ones((16, 3)), np.ones((16, 1))
        >>> def train(epochs):
        ...     model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        ...     model.compile("sgd", "mse")
        ...     position = restore(model, True, output_dir=directory.name)
        ...     batches = training_batches(data, 8, model=model, start_step=position.batches)
        ...     save = WandbModelCheckpoint(directory.name, save_freq="epoch")
        ...     fitting = dict(epochs=epochs, steps_per_epoch=batches.steps_per_epoch, callbacks=[save], verbose=0)
        ...     model.fit(batches.dataset, **fitting)
        ...     return position.step
        >>> train(epochs=1), train(epochs=2)
        (0, 2)
        >>> directory.cleanup()
    """
    for _ in range(LOOKS):
        checkpoint = find_checkpoint(source, output_dir=output_dir)
        if checkpoint is None:
            return Position()
        try:
            return resume_from(model, checkpoint)
        except CheckpointError as error:
            problem = error
            if checkpoint.is_there():
                break
            # Another process has removed it since it was found; nothing has been changed yet.
    raise problem


def resume_from(model: Any, checkpoint: Checkpoint, position: Position | None = None) -> Position:
    """Do as :func:`restore` does, from a checkpoint that has been found and verified.

    Args:
        model: See :func:`restore`.
        checkpoint: The checkpoint, as ``find_checkpoint`` returns it.
        position: Where the next fit begins, if that is not as the checkpoint says.
    """
    host = host_of(model)
    _prepare_model(host)
    position = restore_state(host, checkpoint, position)
    inform("Going on from %s: step %d, epoch %d.", checkpoint.path, position.step, position.epoch)
    return position


def _prepare_model(host: Host) -> None:
    name = type(host.model).__name__
    if not host.is_compiled:
        raise SettingError(
            "model",
            name,
            expected="a compiled model, whose optimizer the checkpoint restores",
            advice="Call model.compile(...) first, as when the checkpoint was written.",
        )
    host.build()
    if not host.model.built:
        raise SettingError(
            "model",
            name,
            expected="a built model, whose weights the checkpoint restores",
            advice="Call it once on a batch, or call model.build(input_shape), first.",
        )


def warn_of_other_data(checkpoint: Checkpoint, arguments: Mapping[str, Any]) -> None:
    """Warn when a training continues with data in other batches, or in another order, than it had.

    Args:
        checkpoint: The checkpoint from which it continues.
        arguments: What it is trained with now, as in ``trainer_state.json``.
    """
    before = TrainerState.read(checkpoint).arguments
    names = [*_DATA_ARGUMENTS, "gradient_accumulation_steps"] if arguments.get("group_by_length") else _DATA_ARGUMENTS
    changed = [
        f"{name} was {before[name]} and is {arguments[name]}"
        for name in names
        if name in before and name in arguments and before[name] != arguments[name]
    ]
    if changed:
        _logger.warning(
            "Going on from %s with other data or in another order: %s. Its position in the data was counted with what "
            "it was, so some samples are trained on twice in this epoch and others not at all. Expected the same as "
            "then, for a training as if it had never been interrupted.",
            checkpoint.path,
            "; ".join(changed),
        )
