"""The methods that scripts call around training: report metrics, save them, count."""

from __future__ import annotations

import json
import logging
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from tf_hfwb import json_text
from tf_hfwb.data import Batches
from tf_hfwb.data.tf_data import batch_size_of, is_tf_data, num_batches
from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.keras_compat import host_of, to_float
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.metric_texts import metric_texts
from tf_hfwb.trainer.trainer_attributes import TrainerParts

_logger = logging.getLogger("tf_hfwb")


class ScriptMethods(TrainerParts):
    """What ``TFTrainer`` has for scripts besides training, evaluation and prediction.

    Attributes:
        state: transformers' ``TrainerState``: how far the training is, and what it has logged.

    Names, arguments, return values and printed text follow ``transformers.Trainer``.
    """

    state: Any

    @property
    def tokenizer(self) -> Any:
        """The former name of ``processing_class``."""
        _logger.warning("trainer.tokenizer is a former spelling. Expected processing_class. Write that.")
        return self.processing_class

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        _logger.warning("trainer.tokenizer is a former spelling. Expected processing_class. Set that.")
        self.processing_class = tokenizer

    # -- who this process is ---------------------------------------------------------------------------------------

    def is_world_process_zero(self) -> bool:
        """Whether this process reports and saves for all workers."""
        return host_of(self.model).is_chief

    def is_local_process_zero(self) -> bool:
        """Whether this process is the first on its machine: True, as TensorFlow has one process for all devices."""
        return True

    # -- metrics ---------------------------------------------------------------------------------------------------

    @staticmethod
    def metrics_format(metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Metrics as a person reads them: times as h:mm:ss, memory in MB, other floats with 4 decimals.

        Example:
            >>> ScriptMethods.metrics_format({"train_runtime": 75.5, "train_loss": 0.123456, "epoch": 3.0})
            {'train_runtime': '0:01:15.50', 'train_loss': 0.1235, 'epoch': 3.0}
        """
        return metric_texts(metrics)

    def log_metrics(self, split: str, metrics: Mapping[str, Any]) -> None:
        """Print metrics as a table; only the chief does.

        Args:
            split: What they belong to: ``"train"``, ``"eval"``, ``"test"``.
            metrics: By their names.
        """
        if not self.is_world_process_zero():
            return
        texts = {name: str(value) for name, value in metric_texts(metrics).items()}
        name_width = max(map(len, texts), default=0)
        value_width = max(map(len, texts.values()), default=0)
        print(f"***** {split} metrics *****")
        for name in sorted(texts):
            print(f"  {name:<{name_width}} = {texts[name]:>{value_width}}")

    def save_metrics(self, split: str, metrics: Mapping[str, Any], combined: bool = True) -> None:
        """Write metrics into ``{split}_results.json`` in ``args.output_dir``; only the chief does.

        Args:
            split: What they belong to: ``"train"``, ``"eval"``, ``"test"``, ``"all"``.
            metrics: By their names. What JSON cannot write becomes its text.
            combined: Whether they are added to ``all_results.json``, too.
        """
        if not self.is_world_process_zero():
            return
        directory = self._make_output_dir()
        _write_json(directory / f"{split}_results.json", metrics)
        if combined:
            path = directory / "all_results.json"
            _write_json(path, {**_read_results(path), **metrics})

    def save_state(self) -> None:
        """Write the state of the training into ``trainer_state.json`` in ``args.output_dir``; only the chief does."""
        if not self.is_world_process_zero():
            return
        self.state.save_to_json(os.fspath(self._make_output_dir() / "trainer_state.json"))

    def _make_output_dir(self) -> pathlib.Path:
        directory = pathlib.Path(self.args.output_dir)
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    # -- numbers ---------------------------------------------------------------------------------------------------

    def num_examples(self, dataloader: Any) -> int:
        """The number of samples in data.

        Args:
            dataloader: A dataset, arrays, or batches of them. Of a ``tf.data.Dataset`` the samples are its batches
                times their size, although the last one may be smaller.

        Raises:
            DataError: The data does not tell its length.
        """
        if isinstance(dataloader, Batches):
            if dataloader.num_samples is not None:
                return dataloader.num_samples
            dataloader = dataloader.dataset
        if not is_tf_data(dataloader):
            return _num_rows(dataloader)
        number = num_batches(dataloader)
        if number is None:
            raise DataError(
                "The number of samples of a tf.data.Dataset without a length was asked for. Expected one with a "
                "length. Call dataset.apply(tf.data.experimental.assert_cardinality(n))."
            )
        return number * (batch_size_of(dataloader) or self.args.per_device_train_batch_size)

    def get_num_trainable_parameters(self) -> int:
        """The number of the weights that training changes."""
        host_of(self.model).build()
        return sum(math.prod(weight.shape) for weight in self.model.trainable_weights)

    def get_learning_rates(self) -> list[float]:
        """The learning rate of the last update, or of the first one to come: an optimizer has one for all weights.

        Raises:
            SettingError: The model has no optimizer.
        """
        host = host_of(self.model)
        iterations = host.iterations()
        if iterations is None:
            raise SettingError(
                "optimizer", None, expected="an optimizer, which tells the rate", advice="Call train() first."
            )
        rate = to_float(host.learning_rate(max(1, iterations)))
        return [] if rate is None else [rate]

    def get_total_train_batch_size(self, args: TFTrainingArguments) -> int:
        """The samples of an optimizer step: those of a batch, on all replicas, of all batches that make the step.

        Args:
            args: The arguments of the training.
        """
        host = host_of(self.model)
        # Either the trainer accumulates gradients, or an optimizer of the user's.
        batches = args.gradient_accumulation_steps * host.accumulation_steps
        return args.per_device_train_batch_size * host.num_replicas * batches


def _num_rows(data: Any) -> int:
    """The samples of a dataset, or of arrays: the length of the first one."""
    while isinstance(data, (tuple, list, Mapping)) and len(data):
        data = next(iter(data.values())) if isinstance(data, Mapping) else data[0]
    return len(data)


def _write_json(path: pathlib.Path, metrics: Mapping[str, Any]) -> None:
    plain = {name: _plain(value) for name, value in metrics.items()}
    path.write_text(json.dumps(plain, indent=4, sort_keys=True))


def _plain(value: Any) -> Any:
    """What JSON can write of a metric: NumPy's values are plain ones, and anything else is a text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
    return value


def _read_results(path: pathlib.Path) -> dict[str, Any]:
    """The metrics that are there already; none, with a warning, where the file cannot be read."""
    try:
        found = json_text.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        found = error
    if isinstance(found, dict):
        return found
    _logger.warning(
        "%s is written anew: it cannot be added to (%s). Expected metrics by their names in JSON, as save_metrics "
        "writes them.",
        path,
        found,
    )
    return {}
