"""Whether TensorFlow uses GPUs, and how they multiply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tf_hfwb.errors import SettingError
from tf_hfwb.validation.installed_packages import has_tensorflow

if TYPE_CHECKING:
    from tf_hfwb.trainer.arguments.argument_fields import ArgumentFields


def set_devices(args: ArgumentFields) -> None:
    """Obey ``use_cpu`` and ``tf32`` for the rest of the process, as they are TensorFlow's own settings.

    GPUs can only be hidden before TensorFlow has looked at them, as it does when the first model is made.

    Raises:
        SettingError: TensorFlow uses GPUs already.
    """
    if (not args.use_cpu and args.tf32 is None) or not has_tensorflow():
        return
    import tensorflow as tf

    if args.tf32 is not None:
        tf.config.experimental.enable_tensor_float_32_execution(args.tf32)
    if args.use_cpu:
        _hide_gpus(tf)


def _hide_gpus(tf: Any) -> None:
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError as error:
        if tf.config.list_logical_devices("GPU"):
            raise SettingError(
                "use_cpu",
                True,
                expected="False, as TensorFlow uses a GPU already",
                advice="Make TFTrainingArguments before the model, or set CUDA_VISIBLE_DEVICES='' before the start.",
            ) from error
