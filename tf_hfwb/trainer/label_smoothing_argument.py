"""Smooth the labels of a model's loss, where the arguments say so."""

from __future__ import annotations

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import Host, can_smooth_labels, smooth_labels
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.dataset_evaluation import DatasetEvaluation


def use_label_smoothing(host: Host, args: TFTrainingArguments, evaluation: DatasetEvaluation) -> None:
    """Let the model compute its loss as ``label_smoothing_factor`` says, until another trainer says otherwise.

    Args:
        host: The model, compiled.
        args: The arguments.
        evaluation: What has compiled evaluations of the model.

    Raises:
        SettingError: The model has no loss whose labels could be smoothed.
    """
    factor = args.label_smoothing_factor
    if factor and not can_smooth_labels(host.model):
        raise SettingError(
            "label_smoothing_factor",
            factor,
            expected=f"0.0 with {type(host.model).__name__}: only the loss of a model of transformers that computes a "
            "cross-entropy of its labels itself can be smoothed",
            advice="Compile the model with a loss that smooths, such as "
            f"keras.losses.CategoricalCrossentropy(label_smoothing={factor}).",
        )
    if smooth_labels(host.model, factor):
        evaluation.forget_compiled()
