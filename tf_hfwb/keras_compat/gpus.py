"""How many GPUs there are for a training."""

from __future__ import annotations

from tf_hfwb.validation.installed_packages import has_tensorflow


def count_gpus() -> int:
    """The GPUs that TensorFlow may use, or the backend of Keras 3 where TensorFlow is not installed."""
    if has_tensorflow():
        import tensorflow as tf

        return len(tf.config.get_visible_devices("GPU"))
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return int(torch.cuda.device_count())
    import jax

    return sum(device.platform == "gpu" for device in jax.local_devices())
