"""How long a training is, and where it begins, whatever is known of the length of its data.

An epoch is one pass over the data. Of a ``tf.data.Dataset`` that is endless the whole training is one epoch. Where a
dataset does not tell its length, and each pass may have another, an epoch ends where the data does; to go on in the
middle of one, a pass is counted.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass
from typing import Any

from tf_hfwb.data import Batches
from tf_hfwb.data.tf_data import Length, count, length_of, passes_from
from tf_hfwb.errors import DataError
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.trainer.optimizers import whole_steps
from tf_hfwb.trainer.training_arguments import TFTrainingArguments

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class TrainingLength:
    """How long a training is.

    Attributes:
        steps: Optimizer steps.
        epochs: For ``fit``.
        batches_per_epoch: The batches of an epoch; None when they differ or are not known.
    """

    steps: int
    epochs: int
    batches_per_epoch: int | None


def begun_data(data: Any, position: Position) -> tuple[Any, int, int | None, Position]:
    """The data of a training that goes on.

    Args:
        data: All of it.
        position: Where it goes on.

    Returns:
        The data; how many of its batches are to be left out; the batches of an epoch, where they had to be counted; and
        the position in those epochs.
    """
    if not position or length_of(data) is not Length.UNKNOWN:
        return data, position.batches, None, position
    if position.batch == 0:
        return data, 0, None, position
    batches = count(data)
    _logger.warning(
        "train_dataset does not tell its length, so that to go on in the middle of an epoch its batches were counted: "
        "%d. Expected a dataset with a length, which need not be read for that: "
        "dataset.apply(tf.data.experimental.assert_cardinality(%d)).",
        batches,
        batches,
    )
    if position.batch >= batches:  # What ended the training has hidden that the epoch was over.
        position = dataclasses.replace(position, epoch=position.epoch + 1, batch=0)
    return passes_from(data, position.batch), 0, batches, position


def training_length(
    args: TFTrainingArguments, batches: Batches, accumulation: int, data: Any, position: Position
) -> tuple[TrainingLength, Position]:
    """How long a training is, and the position in its epochs.

    Args:
        args: How long it is to be.
        batches: What it is trained on.
        accumulation: The batches of a step.
        data: What ``batches`` were made of.
        position: Where it begins.

    Raises:
        DataError: Nothing says where it ends.
        SettingError: It has fewer batches than an update needs.
    """
    per_epoch = batches.steps_per_epoch
    if per_epoch is not None and args.max_steps <= 0:
        steps = whole_steps(math.ceil(args.num_train_epochs * per_epoch), accumulation)
        return TrainingLength(steps, math.ceil(args.num_train_epochs), per_epoch), position
    if args.max_steps <= 0:
        raise DataError(
            "The length of train_dataset is unknown. Expected a tf.data.Dataset with a cardinality, or "
            "max_steps. Set max_steps, or call dataset.apply(tf.data.experimental.assert_cardinality(n))."
        )
    num_batches = args.max_steps * accumulation
    if per_epoch is None and length_of(data) is Length.ENDLESS:
        # Its one epoch may have been shorter when the checkpoint was written.
        epoch, batch = divmod(min(position.batches, num_batches), num_batches)
        position = dataclasses.replace(position, epoch=epoch, batch=batch)
        return TrainingLength(args.max_steps, 1, num_batches), position
    # Of unknown length: there may be a single batch in an epoch. The first one may be begun already.
    epochs = position.epoch + math.ceil((num_batches - position.batches + position.batch) / (per_epoch or 1))
    return TrainingLength(args.max_steps, max(1, epochs), per_epoch), position
