"""Models that were trained in mixed precision, for machines that shall compute in float32."""

from __future__ import annotations

from typing import Any


def in_float32(model: Any) -> Any:
    """The same TF model of transformers, computing in float32; the model itself if it does so already.

    The weights are float32 in any case. They are copied, since layers cannot change what they compute in.
    """
    import tf_keras

    policies = {getattr(layer, "compute_dtype", "float32") for layer in [model, *model.submodules]}
    if policies <= {"float32", None}:
        return model
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("float32")
    try:
        twin = type(model)(model.config)
        twin.build_in_name_scope()
        twin.set_weights(model.get_weights())
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
    if model.can_generate():
        twin.generation_config = model.generation_config
    return twin
