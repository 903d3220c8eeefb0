"""The distribution strategy for the devices of a machine, made once in a process."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from tf_hfwb.errors import SettingError
from tf_hfwb.validation.installed_packages import has_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf


def tpu_of_environment() -> str | None:
    """The TPU that the variable ``TPU_NAME`` names, as TensorFlow's own resolver reads it; None without one."""
    return os.environ.get("TPU_NAME") or None


def has_tpu() -> bool:
    """Whether TensorFlow has found a TPU in this machine."""
    if not has_tensorflow():
        return False
    import tensorflow as tf

    return bool(tf.config.get_visible_devices("TPU"))


@functools.cache
def default_strategy(
    tpu_name: str | None, tpu_zone: str | None, gcp_project: str | None, num_workers: int
) -> tf.distribute.Strategy:
    """The strategy that uses all devices: TPU cores, GPUs, or the CPU.

    Args:
        tpu_name: The name of a TPU, or ``"local"`` on its own machine; None to use one only if it is in this machine.
        tpu_zone: Its zone.
        gcp_project: Its project.
        num_workers: The workers that ``TF_CONFIG`` names. Several must ask for their strategy before anything else.

    Raises:
        SettingError: The TPU cannot be used.

    Follows ``TFTrainingArguments`` of transformers, whose strategies these are.
    """
    import tensorflow as tf

    if tpu_name is not None or has_tpu():
        return _tpu_strategy(tpu_name or "local", tpu_zone, gcp_project)
    if num_workers > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.get_visible_devices("GPU")
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")


def _tpu_strategy(name: str, zone: str | None, project: str | None) -> tf.distribute.Strategy:
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(name, zone=zone, project=project)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except Exception as error:  # Of Google's clients and of TensorFlow, of many classes.
        is_of_environment = name == tpu_of_environment()
        raise SettingError(
            "TPU_NAME" if is_of_environment else "tpu_name",
            name,
            expected=f"a TPU that this machine can use, and TensorFlow says {type(error).__name__}: {_first(error)}",
            advice="Check tpu_name, tpu_zone and gcp_project; on the TPU's own machine tpu_name is 'local'."
            + (" To train without a TPU unset it." if is_of_environment else ""),
        ) from error


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
