"""How long a training is and where it begins, also where the data does not tell its length.

An epoch is one pass over the data. With ``gradient_accumulation_steps`` each group of its batches makes one step, and
so does the smaller group that may be left at its end. There are three cases:

* The data has a length: an epoch has that many batches.
* An endless ``tf.data.Dataset``, or a ``datasets.IterableDataset``: the whole training is one epoch.
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
from tf_hfwb.keras_compat import BatchGroups
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class TrainingLength:
    """How long a training is, and where it begins.

    Attributes:
        steps: Optimizer steps of the whole training.
        epochs: Epochs of the whole training, for ``fit``.
        groups: The batches of an epoch, and of which of them a step is made.
        position: Where it begins, counted in these epochs and in batches.
    """

    steps: int
    epochs: int
    groups: BatchGroups
    position: Position

    @property
    def steps_per_epoch(self) -> int | None:
        """The steps of an epoch as ``fit`` counts them, to which a group is one batch; None where nobody knows them."""
        return self.groups.updates

    @property
    def start(self) -> Position:
        """Where it begins, counted as ``fit`` does."""
        if self.groups.size == 1:
            return self.position
        batch = self.groups.updates_before(self.position.batch)
        before = self.position.epoch * (self.steps_per_epoch or 0)
        return dataclasses.replace(self.position, batch=batch, batches=before + batch)


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
        args: How long it is to be, and how many batches make a step.
        batches: What it is trained on.
        accumulation: Of how many of these the optimizer itself makes a step.
        data: The data that ``batches`` were made of.
        position: Where it begins.

    Raises:
        DataError: The data has no length, and ``max_steps`` is not set.
        SettingError: There are fewer batches than one optimizer step needs.
    """
    groups = BatchGroups(args.gradient_accumulation_steps, batches.steps_per_epoch)
    if args.max_steps <= 0:
        if groups.updates is None:
            raise DataError(
                "The length of train_dataset is unknown. Expected a tf.data.Dataset with a cardinality, or "
                "max_steps. Set max_steps, as for a datasets.IterableDataset, or call "
                "dataset.apply(tf.data.experimental.assert_cardinality(n))."
            )
        steps = whole_steps(math.ceil(args.num_train_epochs * groups.updates), accumulation)
        return TrainingLength(steps, math.ceil(args.num_train_epochs), groups, position)
    updates = args.max_steps * accumulation
    if groups.batches is None and length_of(data) is Length.ENDLESS:
        # The training may be longer now than when the checkpoint was written, and so may its one epoch.
        num_batches = updates * groups.size
        epoch, batch = divmod(min(position.batches, num_batches), num_batches)
        position = dataclasses.replace(position, epoch=epoch, batch=batch)
        return TrainingLength(args.max_steps, 1, dataclasses.replace(groups, batches=num_batches), position)
    start = TrainingLength(args.max_steps, 1, groups, position).start
    # The first epoch may have begun already. Where the length is unknown, an epoch may have a single batch.
    left = updates - start.batches + start.batch
    epochs = position.epoch + math.ceil(left / (groups.updates or 1))
    return TrainingLength(args.max_steps, max(1, epochs), groups, position)


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
