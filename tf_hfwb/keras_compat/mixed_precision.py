"""Models that were trained in mixed precision, as models that compute in float32."""

from __future__ import annotations

import contextlib
import importlib
import json
import pathlib
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

from tf_hfwb.keras_compat import keras3_private

_HALF = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")


def to_float32(model: Any) -> Any:
    """The same TF model of transformers, computing in float32; the model itself if it does so already.

    The weights are float32 in any case. They are copied into another model, because a layer cannot change the type that
    it computes in.
    """
    import tf_keras

    policies = {getattr(layer, "compute_dtype", "float32") for layer in [model, *model.submodules]}
    if policies <= {"float32", None}:
        return model
    with _policy_float32(tf_keras):
        twin = type(model)(model.config)
        twin.build_in_name_scope()
        twin.set_weights(model.get_weights())
    if model.can_generate():
        twin.generation_config = model.generation_config
    return twin


def plain_to_float32(model: Any) -> Any:
    """The same plain model of either Keras, as :func:`to_float32`.

    The model is saved and loaded again with a changed configuration. So everything that Keras saves is copied,
    including the vocabularies and statistics of adapted layers.
    """
    package = next(name for cls in type(model).__mro__ if (name := cls.__module__.partition(".")[0]).endswith("keras"))
    layers = keras3_private.all_layers(model) if package == "keras" else [model, *model.submodules]
    if not any(getattr(layer, "compute_dtype", None) in _HALF for layer in layers):
        return model
    keras = importlib.import_module(package)
    with tempfile.TemporaryDirectory() as name:
        file, changed = pathlib.Path(name, "model.keras"), pathlib.Path(name, "float32.keras")
        model.save(str(file))
        with zipfile.ZipFile(file) as source, zipfile.ZipFile(changed, "w") as target:
            for entry in source.namelist():
                content = source.read(entry)
                if entry == "config.json":
                    content = json.dumps(_without_half(json.loads(content))).encode()
                target.writestr(entry, content)
        with _policy_float32(keras):
            classes = {type(layer).__name__: type(layer) for layer in layers}
            return keras.models.load_model(str(changed), custom_objects=classes, compile=False, safe_mode=False)


def _without_half(value: Any) -> Any:
    """A model's configuration with float32 in place of policies of half precision."""
    if isinstance(value, list):
        return [_without_half(one) for one in value]
    if not isinstance(value, dict):
        return value
    is_policy = "Policy" in str(value.get("class_name"))
    changed: dict[str, Any] = {}
    for key, one in value.items():
        if key == "dtype" and one in _HALF:
            changed[key] = "float32"
        elif is_policy and key == "config" and one.get("name") in _HALF:
            changed[key] = {**one, "name": "float32"}
        else:
            changed[key] = _without_half(one)
    return changed


@contextlib.contextmanager
def _policy_float32(keras: Any) -> Iterator[None]:
    """Let layers that are created in the block compute in float32, unless they are given another policy."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("float32")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
