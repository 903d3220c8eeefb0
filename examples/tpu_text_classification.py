"""Fine-tune a model to classify texts on a TPU, or on what this machine has: ``python tpu_text_classification.py``.

On a TPU VM and in Colab's TPU runtime it takes the TPU that is there; ``--tpu_name``, ``--tpu_zone`` and
``--gcp_project`` name another one. Without a TPU it says so, and trains on the GPUs or the CPU. Where ``TF_CONFIG``
names several workers it is one of them (see ``distributed/``).

The texts, their flags and the small model that is trained without ``--model_name_or_path`` are those of
``text_classification.py``. What a TPU needs differs: all texts are padded to ``--max_seq_length`` tokens, because XLA
compiles the model for each width anew, incomplete batches are dropped, and the model is made where it is trained.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from text_classification import (
    NEW_MODEL_DEFAULTS,
    SCRIPT_DEFAULTS,
    ModelArguments,
    compute_metrics,
    learnt,
    load_config,
    load_model,
    load_tokenizer,
    quiet_import,
    where_the_run_is,
)
from text_data import DataTrainingArguments, Texts, load_texts
from told_errors import tell_errors
from transformers import HfArgumentParser

from tf_hfwb import TFTrainer, TFTrainingArguments

TPU_DEFAULTS = {"dataloader_drop_last": True, "max_seq_length": 64, "save_total_limit": 2}
# The devices of a TPU in its own machine, by generation.
TPU_DEVICES = ("/dev/accel*", "/dev/vfio/[0-9]*")


def parse(argv: Sequence[str]) -> tuple[ModelArguments, DataTrainingArguments, TFTrainingArguments]:
    """Read the flags; a TPU that is in this machine is taken where none is named."""
    parser = HfArgumentParser(
        (ModelArguments, DataTrainingArguments, TFTrainingArguments),
        description="Fine-tune a model to classify texts on a TPU, or on what this machine has.",
    )
    parser.set_defaults(**SCRIPT_DEFAULTS, **TPU_DEFAULTS, tpu_name=find_tpu())
    if not parser.parse_known_args(argv)[0].model_name_or_path:
        parser.set_defaults(**NEW_MODEL_DEFAULTS)
    return tuple(parser.parse_args_into_dataclasses(argv, look_for_args_file=False))


def find_tpu() -> str | None:
    """The name of the TPU that this machine has, or that its environment names; None without one."""
    colab = os.environ.get("COLAB_TPU_ADDR")  # Of Colab's former runtimes, whose TPU was in another machine.
    if colab:
        return f"grpc://{colab}"
    # With devices of an NVIDIA GPU, /dev/vfio may be that of a GPU which is handed through to this machine.
    has_devices = not glob.glob("/dev/nvidia[0-9]*") and any(glob.glob(pattern) for pattern in TPU_DEVICES)
    return os.environ.get("TPU_NAME") or ("local" if has_devices else None)


def begin_strategy(args: TFTrainingArguments) -> Any:
    """The strategy for all devices, and a line that says which these are.

    This comes before anything that TensorFlow computes: several workers and a TPU are connected here.
    """
    strategy = args.strategy
    if args.process_index == 0:
        missing = "" if args.tpu_name else "There is no TPU here. "
        workers = f" of {args.world_size} workers" if args.world_size > 1 else ""
        print(f"{missing}Training on {strategy.num_replicas_in_sync} x {args.device.partition(':')[0]}{workers}.")
    return strategy


def padded(texts: Texts, tokenizer: Any, length: int, label2id: dict[str, int]) -> Any:
    """A dataset with the tokens, the same number for all texts, and the labels."""
    from datasets import Dataset

    columns = tokenizer(
        *map(list, zip(*texts.rows, strict=True)), truncation=True, padding="max_length", max_length=length
    )
    return Dataset.from_dict({**columns, "label": texts.label_ids(label2id)})


def run(model_args: ModelArguments, data_args: DataTrainingArguments, args: TFTrainingArguments) -> None:
    """Load, train, evaluate, save, and say how it went."""
    with quiet_import():
        import tensorflow  # noqa: F401
    strategy = begin_strategy(args)
    hub = {"cache_dir": model_args.cache_dir, "token": model_args.token}
    texts = load_texts(data_args, ["train", "validation"], **hub)
    hub["revision"] = model_args.model_revision
    config = load_config(model_args, texts["train"], **hub)
    tokenizer = load_tokenizer(model_args, texts["train"], **hub)
    length = min(data_args.max_seq_length, tokenizer.model_max_length)
    datasets = {name: padded(some, tokenizer, length, config.label2id) for name, some in texts.items()}
    with strategy.scope():
        model = load_model(model_args, config, tokenizer, args.seed, **hub)
    trainer = TFTrainer(
        model,
        args,
        train_dataset=datasets["train"],
        eval_dataset=datasets["validation"],
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
    )
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    metrics = trainer.evaluate()  # By all workers together.
    trainer.save_model()
    if args.process_index == 0:
        print(learnt(metrics["eval_accuracy"], texts["validation"], config.num_labels))
        print(*where_the_run_is(trainer.run_directory), sep="\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says; what the user can put right is told in a line, with exit status 2."""
    with tell_errors():
        run(*parse(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    main()
