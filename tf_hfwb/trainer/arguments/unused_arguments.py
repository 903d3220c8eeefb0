"""Arguments that say nothing of data with batches of its own, or of a stream: a warning; or an error, of a loader."""

from __future__ import annotations

import logging
from typing import Any

from tf_hfwb.data.loaders import is_loader
from tf_hfwb.data.stream_batches import is_stream
from tf_hfwb.data.tf_data import batch_size_of, is_tf_data
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import host_of
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments

_logger = logging.getLogger("tf_hfwb")


def warn_of_unused_arguments(
    name: str, data: Any, batch_size: int, args: TFTrainingArguments, data_collator: Any, *, warned: set[str]
) -> None:
    """Name the arguments that a ``tf.data.Dataset`` or a stream leaves without effect, once for each dataset.

    Args:
        name: ``"train_dataset"`` or ``"eval_dataset"``.
        data: The data.
        batch_size: The samples of a batch over all replicas, as the arguments ask for it.
        args: The arguments.
        data_collator: The trainer's.
        warned: The names that were warned of already; this one is added.
    """
    if name in warned:
        return
    if is_stream(data) and args.dataloader_num_workers:
        warned.add(name)
        _logger.warning(
            "%s is a datasets.IterableDataset, which one thread reads: dataloader_num_workers=%d says nothing of it. "
            "Expected 0. Leave it out; what takes long is better done before, by map() of a datasets.Dataset. This is "
            "said once.",
            name,
            args.dataloader_num_workers,
        )
    if not is_tf_data(data) and not is_loader(data):
        return
    is_training = name == "train_dataset"
    unused = _unused_batch_size(data, is_training, batch_size, args)
    if data_collator is not None:
        unused.append("data_collator")
    if is_training and args.dataloader_drop_last:
        unused.append("dataloader_drop_last=True")
    if is_training and args.auto_find_batch_size:
        unused.append("auto_find_batch_size=True")
    if is_training and args.data_seed is not None:
        unused.append(f"data_seed={args.data_seed}")
    if unused:
        warned.add(name)
        _logger.warning(
            "%s is a %s, which is taken as it is: %s says nothing of it. Expected that in the dataset "
            "itself, as by dataset.batch(...). Set it there, or pass a datasets.Dataset or arrays. This is said once.",
            name,
            "tf.data.Dataset" if is_tf_data(data) else type(data).__name__,
            " and ".join(unused),
        )


def _unused_batch_size(data: Any, is_training: bool, batch_size: int, args: TFTrainingArguments) -> list[str]:
    """The argument of the batch size, if the batches have another size or if it was set in vain."""
    argument = "per_device_train_batch_size" if is_training else "per_device_eval_batch_size"
    given, actual = getattr(args, argument), batch_size_of(data) if is_tf_data(data) else None
    if actual is None:
        is_default = given == getattr(type(args), argument)
        return [] if is_default else [f"{argument}={given}"]
    return [] if actual == batch_size else [f"{argument}={given} (its batches have {actual} samples)"]


def check_loader(model: Any, args: TFTrainingArguments) -> None:
    """Refuse a loader of PyTorch or Grain, or a PyDataset, where the trainer cannot take it as it is.

    Raises:
        SettingError: The model is not of Keras 3, or an argument asks for what the loader's batches do not allow.
    """
    if host_of(model).package != "keras":
        raise SettingError(
            "train_dataset",
            "a loader",
            expected=f"a datasets.Dataset, a tf.data.Dataset or arrays for {type(model).__name__}, as tf_keras takes "
            "no loaders of PyTorch and Grain",
            advice="Pass the data itself.",
        )
    if args.counted_tokens != "no":
        raise SettingError(
            "include_num_input_tokens_seen",
            args.include_num_input_tokens_seen,
            expected='"no" with a loader, whose batches Keras reads itself',
            advice="Leave it out, and include_tokens_per_second; or pass a datasets.Dataset.",
        )
