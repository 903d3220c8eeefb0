"""How long a training is and where it begins, also where the data does not tell its length.

An epoch is one pass over the data. There are three cases:

* The data has a length: an epoch has that many batches.
* An endless ``tf.data.Dataset``: the whole training is one epoch.
* A ``tf.data.Dataset`` of unknown length: an epoch ends where the data ends, and each pass may have another length. To
  resume in the middle of an epoch, the batches of one pass are counted.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass
from typing import Any

from tf_hfwb.data import Batches
from tf_hfwb.data.tf_data import Length, count, length_of, passes_from
from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class TrainingLength:
    """How long a training is, and where it begins.

    Attributes:
        steps: Optimizer steps of the whole training.
        epochs: Epochs of the whole training, for ``fit``.
        batches_per_epoch: The batches of an epoch; None when they differ or are not known.
        start: Where it begins, counted in these epochs.
    """

    steps: int
    epochs: int
    batches_per_epoch: int | None
    start: Position


@dataclass(frozen=True)
class RemainingData:
    """The data of a training that may have begun earlier.

    Attributes:
        data: The data to make batches of.
        skipped_batches: How many of its batches were trained on already; the pipeline leaves them out.
        counted_batches: The batches of an epoch, where they had to be counted; else None.
        position: Where the training begins in these epochs.
    """

    data: Any
    skipped_batches: int
    counted_batches: int | None
    position: Position


def remaining_data(data: Any, position: Position) -> RemainingData:
    """Leave out what a training has seen before it resumes.

    Args:
        data: All data.
        position: Where the training begins.
    """
    if not position or length_of(data) is not Length.UNKNOWN:
        return RemainingData(data, position.batches, None, position)
    if position.batch == 0:
        return RemainingData(data, 0, None, position)
    batches = count(data)
    _logger.warning(
        "train_dataset does not tell its length, so that to go on in the middle of an epoch its batches were counted: "
        "%d. Expected a dataset with a length, which need not be read for that: "
        "dataset.apply(tf.data.experimental.assert_cardinality(%d)).",
        batches,
        batches,
    )
    if position.batch >= batches:  # The training stopped on the last batch, before the end of the epoch was noticed.
        position = dataclasses.replace(position, epoch=position.epoch + 1, batch=0)
    return RemainingData(passes_from(data, position.batch), 0, batches, position)


def training_length(
    args: TFTrainingArguments, batches: Batches, accumulation: int, data: Any, position: Position
) -> TrainingLength:
    """How long a training is, and where it begins in its epochs.

    Args:
        args: How long it is to be.
        batches: What it is trained on.
        accumulation: The batches of an optimizer step.
        data: The data that ``batches`` were made of.
        position: Where it begins.

    Raises:
        DataError: The data has no length, and ``max_steps`` is not set.
        SettingError: There are fewer batches than one optimizer step needs.
    """
    per_epoch = batches.steps_per_epoch
    if args.max_steps <= 0:
        if per_epoch is None:
            raise DataError(
                "The length of train_dataset is unknown. Expected a tf.data.Dataset with a cardinality, or "
                "max_steps. Set max_steps, or call dataset.apply(tf.data.experimental.assert_cardinality(n))."
            )
        steps = whole_steps(math.ceil(args.num_train_epochs * per_epoch), accumulation)
        return TrainingLength(steps, math.ceil(args.num_train_epochs), per_epoch, position)
    num_batches = args.max_steps * accumulation
    if per_epoch is None and length_of(data) is Length.ENDLESS:
        # The training may be longer now than when the checkpoint was written, and so may its one epoch.
        epoch, batch = divmod(min(position.batches, num_batches), num_batches)
        start = dataclasses.replace(position, epoch=epoch, batch=batch)
        return TrainingLength(args.max_steps, 1, num_batches, start)
    # The first epoch may have begun already. Where the length is unknown, an epoch may have a single batch.
    left = num_batches - position.batches + position.batch
    epochs = position.epoch + math.ceil(left / (per_epoch or 1))
    return TrainingLength(args.max_steps, max(1, epochs), per_epoch, position)


def whole_steps(num_batches: int, accumulation: int) -> int:
    """The optimizer steps that a number of batches makes; warns of batches that are left over.

    Args:
        num_batches: The batches of the whole training; Keras accumulates from one epoch into the next.
        accumulation: The batches of an optimizer step.

    Raises:
        SettingError: There are fewer batches than one step needs.

    Example:
        >>> whole_steps(31, 1), whole_steps(30, 5)
        (31, 6)
    """
    steps, left_over = divmod(num_batches, accumulation)
    if not steps:
        raise SettingError(
            "gradient_accumulation_steps",
            accumulation,
            expected=f"{num_batches} at most, the number of batches of the whole training, or no update is ever made",
            advice="Accumulate less, or train longer.",
        )
    if left_over:
        _logger.warning(
            "The last %d of %d batches make no update: gradients are accumulated over %d. Expected a multiple of that "
            "to use all of them. The schedule ends with the last update, step %d.",
            left_over,
            num_batches,
            accumulation,
            steps,
        )
    return steps
