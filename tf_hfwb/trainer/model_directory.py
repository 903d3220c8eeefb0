"""The directory that ``TFTrainer.save_model`` writes."""

from __future__ import annotations

import pathlib
from typing import Any, Literal

from tf_hfwb.models.pytorch_format import save_pytorch_format
from tf_hfwb.models.save_pretrained import save_pretrained
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments


def write_model_directory(
    target: pathlib.Path,
    model: Any,
    processing_class: Any,
    args: TFTrainingArguments,
    weights_format: Literal["tf", "pt"],
) -> None:
    """Write a model, its tokenizer and the arguments of its training.

    Args:
        target: The directory.
        model: The model, built.
        processing_class: The tokenizer or processor; None without one.
        args: The arguments.
        weights_format: What loads the weights: TensorFlow or PyTorch.

    Raises:
        SettingError: PyTorch has no counterpart of the model's class, or something cannot be written as JSON.
    """
    arguments = args.to_json_string()  # Raises before anything is written.
    if weights_format == "pt":
        save_pytorch_format(model, target, processing_class=processing_class)
    else:
        save_pretrained(model, target, processing_class)
    (target / "training_args.json").write_text(arguments + "\n")
