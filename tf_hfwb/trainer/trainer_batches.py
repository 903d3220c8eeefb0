"""The batches that a trainer makes of the data it was given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tf_hfwb.data import Batches, evaluation_batches, training_batches
from tf_hfwb.data.loaders import is_loader, length_of_loader, repeated
from tf_hfwb.data.stream_batches import is_stream
from tf_hfwb.data.stream_positions import StreamPosition, StreamPositions
from tf_hfwb.data.tf_data import is_tf_data
from tf_hfwb.data.unbatched_tf_data import as_batches_or_samples
from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.evaluation.batch_runner import BatchRunner
from tf_hfwb.fit.token_totals import TokenCounts
from tf_hfwb.keras_compat import host_of
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.arguments.unused_arguments import check_loader, warn_of_unused_arguments
from tf_hfwb.trainer.token_counting import count_tokens
from tf_hfwb.trainer.training_length import remaining_data


@dataclass(frozen=True)
class TrainingData:
    """What a training goes through.

    Attributes:
        batches: The batches that are left.
        data: All data that they were made of.
        position: Where the training begins, in the epochs of these batches.
        token_counts: Where the tokens of the batches are counted; None if they are not.
        stream_positions: Where blocks of a stream begin; None for other data.
    """

    batches: Batches
    data: Any
    position: Position
    token_counts: TokenCounts | None
    stream_positions: StreamPositions | None


@dataclass(frozen=True)
class BatchFactory:
    """Makes batches as a trainer's arguments say, and checks that the model can use them.

    Attributes:
        model: The model.
        args: Batch sizes, seeds, and what becomes of columns.
        processing_class: The tokenizer or processor that pads.
        data_collator: Makes a batch instead; None for the package's own pipelines.
        warned: The datasets of which the user was told that arguments have no effect; more are added.
    """

    model: Any
    args: TFTrainingArguments
    processing_class: Any
    data_collator: Any
    warned: set[str]

    @property
    def train_batch_size(self) -> int:
        """Samples of a training batch over all replicas."""
        return self.args.per_device_train_batch_size * host_of(self.model).num_replicas

    @property
    def eval_batch_size(self) -> int:
        """Samples of an evaluation batch over all replicas."""
        return self.args.per_device_eval_batch_size * host_of(self.model).num_replicas

    def training(
        self, train_dataset: Any, position: Position, stream_start: StreamPosition | None = None
    ) -> TrainingData:
        """Batches to train on.

        Args:
            train_dataset: All data.
            position: Where the training begins.
            stream_start: Where a stream can be entered to get there; None to read it from its beginning.

        Raises:
            DataError: The model cannot use them.
        """
        if is_loader(train_dataset):
            return self._training_of_loader(train_dataset, position)
        args, data = self.args, as_batches_or_samples(self.model, train_dataset)
        remaining = remaining_data(data, position)
        stream_positions = StreamPositions(stream_start) if is_stream(data) else None
        batches = training_batches(
            remaining.data,
            self.train_batch_size,
            seed=args.seed if args.data_seed is None else args.data_seed,
            drop_remainder=args.dataloader_drop_last,
            start_step=remaining.skipped_batches,
            group_by_length=args.group_by_length,
            length_column_name=args.length_column_name,
            gradient_accumulation_steps=args.gradient_accumulation_steps,
            stream_positions=stream_positions,
            **self._options(),
        )
        if remaining.counted_batches is not None:
            batches = dataclasses.replace(batches, steps_per_epoch=remaining.counted_batches)
        self._check_labels("train_dataset", batches)
        if not args.dataloader_drop_last:
            self._check_shards("train_dataset", batches.num_samples, self.train_batch_size, "set dataloader_drop_last")
        self._warn_of_unused("train_dataset", data, self.train_batch_size)
        counts = None if args.counted_tokens == "no" else TokenCounts()
        if counts is not None:
            padding = getattr(self.processing_class, "pad_token_id", None)
            batches = count_tokens(batches, counts, self.model, padding, args.counted_tokens)
        # Of a stream, whose passes follow each other without an end, the whole training is one epoch.
        data = data if stream_positions is None else batches.dataset
        return TrainingData(batches, data, remaining.position, counts, stream_positions)

    def _training_of_loader(self, loader: Any, position: Position) -> TrainingData:
        """The batches of a loader, which Keras reads; it also finds the place of a training that resumes."""
        check_loader(self.model, self.args)
        self._warn_of_unused("train_dataset", loader, self.train_batch_size)
        batches = Batches(repeated(loader), length_of_loader(loader), num_samples=None, fingerprint=None)
        return TrainingData(batches, loader, position, None, None)

    def evaluations(self, eval_dataset: Any, *, needs_labels: bool = True) -> dict[str, Batches]:
        """The batches of each dataset that is to be evaluated.

        Args:
            eval_dataset: A dataset, whose name is then empty, or a dict of them by name.
            needs_labels: Whether the model's loss is wanted.

        Raises:
            DataError: The model cannot use them.
        """
        datasets = {
            name: as_batches_or_samples(self.model, data) for name, data in datasets_by_name(eval_dataset).items()
        }
        batches_by_name = {name: self.prediction(dataset) for name, dataset in datasets.items()}
        for name, batches in batches_by_name.items():
            if needs_labels:
                self._check_labels(f"eval_dataset[{name!r}]" if name else "eval_dataset", batches)
            self._warn_of_unused("eval_dataset", datasets[name], self.eval_batch_size)
        return batches_by_name

    def prediction(self, dataset: Any) -> Batches:
        """Batches to predict, in the order of the data; labels may be missing.

        Raises:
            DataError: The model cannot use them.
        """
        host_of(self.model).build()  # The data is compared with the model's weights.
        data = as_batches_or_samples(self.model, dataset)
        batches = evaluation_batches(data, self.eval_batch_size, **self._options())
        self._check_shards("The data to evaluate", batches.num_samples, self.eval_batch_size, "choose another size")
        return batches

    def _options(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "processing_class": self.processing_class,
            "data_collator": self.data_collator,
            "label_names": self.args.label_names,
            "remove_unused_columns": self.args.remove_unused_columns,
            "num_workers": self.args.dataloader_num_workers,
            "prefetch_factor": self.args.dataloader_prefetch_factor,
        }

    def _check_labels(self, name: str, batches: Batches) -> None:
        if BatchRunner(self.model).lacks_labels(batches.dataset):
            raise DataError(
                f"{name} has no labels. Expected them, because {type(self.model).__name__} computes its loss from "
                f"them. Add a column 'labels', or name the columns with label_names."
            )

    def _check_shards(self, name: str, samples: int | None, batch_size: int, advice: str) -> None:
        host = host_of(self.model)
        last = 0 if samples is None else samples % batch_size
        if host.needs_equal_shards and last % host.num_replicas:
            raise DataError(
                f"{name} has {samples} samples, whose last batch of {last} cannot be divided among the "
                f"{host.num_replicas} devices of keras.distribution. Expected a number that can: JAX refuses others. "
                f"Leave out {last % host.num_replicas} samples, or {advice}."
            )

    def _warn_of_unused(self, name: str, data: Any, batch_size: int) -> None:
        warn_of_unused_arguments(name, data, batch_size, self.args, self.data_collator, warned=self.warned)


def datasets_by_name(data: Any) -> Mapping[str, Any]:
    """Datasets by name; a single one has the empty name. A dict of arrays is one dataset.

    Example:
        >>> import numpy as np
        >>> columns = {"x": np.zeros(2)}
        >>> list(datasets_by_name(columns)), list(datasets_by_name({"a": columns, "b": columns}))
        ([''], ['a', 'b'])
    """
    has_names = isinstance(data, Mapping) and not any(map(_is_column, data.values()))
    return data if has_names else {"": data}


def _is_column(value: Any) -> bool:
    """Whether it is an array, or values as in a list; a tuple is a whole dataset."""
    return hasattr(value, "dtype") or (isinstance(value, Sequence) and not isinstance(value, (str, tuple)))


def named_dataset(own: Any, wanted: Any) -> Any:
    """One dataset: that which is wanted, that of such a name among the trainer's own, or the trainer's own.

    Args:
        own: The trainer's own dataset, or a dict of them.
        wanted: A dataset, a name, or None.

    Raises:
        DataError: There is none, none of that name, or several.
    """
    datasets = {} if own is None else datasets_by_name(own)
    if wanted is None and len(datasets) == 1:
        return next(iter(datasets.values()))
    if isinstance(wanted, str) and wanted in datasets:
        return datasets[wanted]
    if wanted is None or isinstance(wanted, str):
        raise DataError(
            f"eval_dataset={wanted!r} names none of the trainer's own, {sorted(datasets)}. Expected a dataset, or one "
            f"of these names. Pass it here, or eval_dataset to TFTrainer."
        )
    return wanted


def dataset_of_hook(name: str, result: Any) -> Any:
    """The ``tf.data.Dataset`` that an overridden method returned.

    Args:
        name: The method.
        result: A dataset; or that, a number of batches and one of samples, as the former ``TFTrainer`` wanted it of
            evaluations.

    Raises:
        SettingError: It is something else.
    """
    dataset = result
    if isinstance(result, tuple) and len(result) == 3 and is_tf_data(result[0]):
        dataset = result[0].take(int(result[1]))
    if not is_tf_data(dataset):
        raise SettingError(
            f"{name}()",
            type(dataset).__name__,
            expected="a tf.data.Dataset of batches",
            advice="Return the dataset itself, not what strategy.experimental_distribute_dataset makes of it: Keras "
            "distributes it.",
        )
    return dataset
