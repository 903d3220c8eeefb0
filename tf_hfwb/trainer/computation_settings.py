"""How a trainer's model computes in a training and in an evaluation: loss, precision, noise and memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tf_hfwb.data import Batches
from tf_hfwb.keras_compat import Host, keep_activations, remove_noise
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.dataset_evaluation import DatasetEvaluation
from tf_hfwb.trainer.gradient_checkpointing_argument import use_gradient_checkpointing
from tf_hfwb.trainer.label_smoothing_argument import use_label_smoothing
from tf_hfwb.trainer.neftune_argument import use_embedding_noise
from tf_hfwb.trainer.training_backend import compile_with_xla
from tf_hfwb.trainer.training_precision import (
    begin_precision,
    end_precision,
    precision_of_evaluation,
    precision_of_training,
)


def begin_training(host: Host, args: TFTrainingArguments, batches: Batches, evaluation: DatasetEvaluation) -> None:
    """Let the model compute as a training asks for, until :func:`end_training`.

    Args:
        host: The model, compiled.
        args: The arguments.
        batches: What it is trained on.
        evaluation: What has compiled evaluations of the model.

    Raises:
        SettingError: It cannot.
    """
    use_label_smoothing(host, args, evaluation)
    use_embedding_noise(host, args)
    use_gradient_checkpointing(host, args)
    compile_with_xla(host, args)
    begin_precision(host, precision_of_training(args), batches, evaluation)


def end_training(host: Host, evaluation: DatasetEvaluation) -> None:
    """Let the model compute as it did before; its loss and XLA stay."""
    end_precision(host, evaluation)
    keep_activations(host.model)
    remove_noise(host.model)


@contextlib.contextmanager
def computing_evaluation(
    host: Host, args: TFTrainingArguments, batches: Batches, evaluation: DatasetEvaluation
) -> Iterator[None]:
    """Let the model compute as an evaluation outside of a training asks for; arguments as in :func:`begin_training`."""
    use_label_smoothing(host, args, evaluation)
    name = precision_of_evaluation(args)
    begin_precision(host, name, batches, evaluation)
    try:
        yield
    finally:
        if name is not None:
            end_precision(host, evaluation)
