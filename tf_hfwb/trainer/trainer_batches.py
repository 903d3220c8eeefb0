"""The batches that a trainer makes of the data it was given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tf_hfwb.data import Batches, evaluation_batches, training_batches
from tf_hfwb.errors import DataError
from tf_hfwb.evaluation.batch_runner import BatchRunner
from tf_hfwb.keras_compat import host_of
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.arguments.unused_arguments import warn_of_unused_arguments
from tf_hfwb.trainer.training_length import RemainingData


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

    def training(self, train_dataset: Any, remaining: RemainingData) -> Batches:
        """Batches to train on.

        Args:
            train_dataset: All data, for warnings.
            remaining: The part of it that is still to be trained on.

        Raises:
            DataError: The model cannot use them.
        """
        args = self.args
        batches = training_batches(
            remaining.data,
            self.train_batch_size,
            seed=args.seed if args.data_seed is None else args.data_seed,
            drop_remainder=args.dataloader_drop_last,
            start_step=remaining.skipped_batches,
            **self._options(),
        )
        if remaining.counted_batches is not None:
            batches = dataclasses.replace(batches, steps_per_epoch=remaining.counted_batches)
        self._check_labels("train_dataset", batches)
        self._warn_of_unused("train_dataset", train_dataset, self.train_batch_size)
        return batches

    def evaluations(self, eval_dataset: Any) -> dict[str, Batches]:
        """The batches of each dataset that is to be evaluated.

        Args:
            eval_dataset: A dataset, whose name is then empty, or a dict of them by name.

        Raises:
            DataError: The model cannot use them.
        """
        datasets = datasets_by_name(eval_dataset)
        batches_by_name = {name: self.prediction(dataset) for name, dataset in datasets.items()}
        for name, batches in batches_by_name.items():
            self._check_labels(f"eval_dataset[{name!r}]" if name else "eval_dataset", batches)
            self._warn_of_unused("eval_dataset", datasets[name], self.eval_batch_size)
        return batches_by_name

    def prediction(self, dataset: Any) -> Batches:
        """Batches to predict, in the order of the data; labels may be missing.

        Raises:
            DataError: The model cannot use them.
        """
        host_of(self.model).build()  # The data is compared with the model's weights.
        return evaluation_batches(dataset, self.eval_batch_size, **self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "processing_class": self.processing_class,
            "data_collator": self.data_collator,
            "label_names": self.args.label_names,
            "remove_unused_columns": self.args.remove_unused_columns,
        }

    def _check_labels(self, name: str, batches: Batches) -> None:
        if BatchRunner(self.model).lacks_labels(batches.dataset):
            raise DataError(
                f"{name} has no labels. Expected them, because {type(self.model).__name__} computes its loss from "
                f"them. Add a column 'labels', or name the columns with label_names."
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
    has_names = isinstance(data, Mapping) and not any(hasattr(value, "dtype") for value in data.values())
    return data if has_names else {"": data}
