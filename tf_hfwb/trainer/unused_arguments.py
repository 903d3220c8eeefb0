"""Arguments that say nothing of data that comes in batches, or in arrays, already."""

from __future__ import annotations

import logging
from typing import Any

from tf_hfwb.data.tf_data import batch_size_of, is_tf_data
from tf_hfwb.trainer.training_arguments import TFTrainingArguments

_logger = logging.getLogger("tf_hfwb")


def warn_of_unused(
    name: str, data: Any, batch_size: int, args: TFTrainingArguments, data_collator: Any, *, told: set[str]
) -> None:
    """Say which arguments are not used for a ``tf.data.Dataset``, which is taken as it is.

    Args:
        name: What the data is called.
        data: The data.
        batch_size: The samples of a batch over all replicas, as the arguments say it.
        args: The arguments.
        data_collator: The trainer's.
        told: What was said already; more is added.
    """
    if not is_tf_data(data) or name in told:
        return
    is_training = name == "train_dataset"
    argument = "per_device_train_batch_size" if is_training else "per_device_eval_batch_size"
    given, real = getattr(args, argument), batch_size_of(data)
    is_default = given == getattr(type(args), argument)
    unused = []
    if real is None and not is_default:
        unused.append(f"{argument}={given}")
    elif real is not None and real != batch_size:
        unused.append(f"{argument}={given} (its batches have {real} samples)")
    if data_collator is not None:
        unused.append("data_collator")
    if is_training and args.dataloader_drop_last:
        unused.append("dataloader_drop_last=True")
    if is_training and args.data_seed is not None:
        unused.append(f"data_seed={args.data_seed}")
    if unused:
        told.add(name)
        _logger.warning(
            "%s is a tf.data.Dataset, which is taken as it is: %s says nothing of it. Expected that in the dataset "
            "itself, as by dataset.batch(...). Set it there, or pass a datasets.Dataset or arrays. This is said once.",
            name,
            " and ".join(unused),
        )
