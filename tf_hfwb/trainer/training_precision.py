"""Train in 16 bits: whether a model can is found out before it is trained."""

from __future__ import annotations

from tf_hfwb.data import Batches
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import Host, multiplies_by_infinity, reduce_precision, restore_precision
from tf_hfwb.messages import first_line
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.dataset_evaluation import DatasetEvaluation
from tf_hfwb.trainer.weight_building import build_weights


def precision_of_training(args: TFTrainingArguments) -> str | None:
    """The argument that asks for a training in 16 bits."""
    return "fp16" if args.fp16 else "bf16" if args.bf16 else None


def precision_of_evaluation(args: TFTrainingArguments) -> str | None:
    """The argument that asks for 16 bits in evaluations outside of a training."""
    return "fp16_full_eval" if args.fp16_full_eval else "bf16_full_eval" if args.bf16_full_eval else None


def begin_precision(host: Host, name: str | None, batches: Batches, evaluation: DatasetEvaluation) -> None:
    """Let the model compute in 16 bits until :func:`end_precision`.

    Args:
        host: The model, compiled.
        name: The argument that says so, such as ``"fp16"``; None: nothing changes.
        batches: What the model is going to see.
        evaluation: What has compiled evaluations of the model.

    Raises:
        SettingError: The model cannot compute in 16 bits.
    """
    if name is None:
        return
    if name == "fp16" and host.package == "keras" and host.num_replicas > 1:
        raise SettingError(
            name,
            True,
            expected="False with several replicas of a Keras 3 model: where gradients of one replica overflow, "
            "Keras's loss scaling leaves out its update and not that of the others, and weights become NaN",
            advice="Use bf16, which needs no loss scaling.",
        )
    policy = "mixed_float16" if name.startswith("fp16") else "mixed_bfloat16"
    build_weights(host.model, batches)
    reduce_precision(host, policy)
    evaluation.forget_compiled()
    error = _error_of_step(host, batches)
    if error is None:
        return
    restore_precision(host)
    if isinstance(error, _InfiniteFactorError):
        raise SettingError(
            name,
            True,
            expected=f"False with {type(host.model).__name__}, which multiplies by a number beyond 65504, the largest "
            "of float16 (as T5 does for its attention masks): all losses would be NaN",
            advice=f"Use {name.replace('fp', 'bf')}=True.",
        )
    if _error_of_step(host, batches) is None:
        raise SettingError(
            name,
            True,
            expected=f"False with {type(host.model).__name__}, which cannot compute in 16 bits once it is made "
            f"({_cause(error)})",
            advice=f"Call keras.mixed_precision.set_global_policy({policy!r}) before the model is made.",
        ) from error
    reduce_precision(host, policy)  # Something else is wrong, and whoever takes the step hears of it.


def end_precision(host: Host, evaluation: DatasetEvaluation) -> None:
    """Let the model compute as it did before :func:`begin_precision`."""
    if restore_precision(host):
        evaluation.forget_compiled()


class _InfiniteFactorError(Exception):
    """Something is multiplied by what is an infinity in 16 bits, and zero times infinity is NaN."""


def _error_of_step(host: Host, batches: Batches) -> Exception | None:
    """What is wrong with an evaluation step, which TensorFlow looks at without computing it.

    Keras 3 converts types where it must.
    """
    if host.package != "tf_keras":
        return None
    import tensorflow as tf

    model = host.model
    step = tf.function(lambda batch: model.distribute_strategy.run(model.test_step, (batch,)))
    try:
        traced = step.get_concrete_function(batches.dataset.element_spec)
    except Exception as error:  # Of the user's layers, in any way.
        return error
    return _InfiniteFactorError() if multiplies_by_infinity(traced.graph) else None


def _cause(error: Exception) -> str:
    """What an error is about: in front of it is the way through the user's code, and behind it are arguments."""
    lines = [line.strip() for line in str(error).splitlines() if "Error: " in line]
    return lines[-1] if lines else first_line(error)
