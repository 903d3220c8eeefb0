"""What all workers of a training by ``TFTrainer`` must have the same."""

from __future__ import annotations

import hashlib
from typing import Any

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.data import Batches
from tf_hfwb.data.datasets_private import independent_reader
from tf_hfwb.data.stream_batches import is_stream
from tf_hfwb.settings import Settings
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments

# Arguments that each worker may have its own.
_OWN = frozenset(
    [
        *("output_dir", "logging_dir", "run_name", "local_rank", "disable_tqdm", "ddp_timeout"),
        *("log_level", "log_level_replica", "log_on_each_node", "hub_token", "push_to_hub_token"),
    ]
)

_LOOKED_AT = 16  # Rows of a data set.


def worker_facts(
    args: TFTrainingArguments, train_dataset: Any, batches: Batches, batch_size: int, checkpoint: Checkpoint | None
) -> dict[str, Any]:
    """The facts by their names, as JSON has them.

    Args:
        args: The arguments.
        train_dataset: The data, as the user gave it.
        batches: What was made of it.
        batch_size: Samples of a batch over all replicas.
        checkpoint: What the training resumes from; None for a fresh start.
    """
    settings = Settings.resolve()
    return {
        **{name: value for name, value in args.to_dict().items() if name not in _OWN},
        "WANDB_WATCH": settings.watch,
        "WANDB_LOG_MODEL": settings.log_model,
        "batch size over all replicas": batch_size,
        "train_dataset/num_samples": batches.num_samples,
        "train_dataset/steps_per_epoch": batches.steps_per_epoch,
        "train_dataset/columns": str(batches.dataset.element_spec),
        "train_dataset/content": _digest_of(train_dataset) or batches.fingerprint,
        "the checkpoint": None if checkpoint is None else checkpoint.name,
    }


def _digest_of(data: Any) -> str | None:
    """A hash of some rows of a ``datasets.Dataset``, of the first ones of a stream; None of other data.

    Its own fingerprint is another one in each process where a function that has made it cannot be hashed.
    """
    if not (hasattr(data, "with_format") and hasattr(data, "column_names")):
        return None
    if is_stream(data):
        first = next(independent_reader(data).with_format("arrow").iter(batch_size=_LOOKED_AT), None)
        return hashlib.sha256(repr(first and first.to_pylist()).encode()).hexdigest()[:16]
    rows = data.with_format("arrow")
    number = len(rows)
    sha = hashlib.sha256(f"{number} {data.column_names}".encode())
    for place in range(min(number, _LOOKED_AT)):
        at = place * (number - 1) // max(1, min(number, _LOOKED_AT) - 1)
        sha.update(repr(rows[at : at + 1].to_pylist()).encode())
    return sha.hexdigest()[:16]
