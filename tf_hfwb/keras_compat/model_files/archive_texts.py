"""The configuration and the metadata of a plain model, as the ``save`` of its Keras writes them into an archive."""

from __future__ import annotations

import json
import pathlib
import tempfile
import zipfile
from typing import Any

from tf_hfwb.errors import UnsupportedVersionError
from tf_hfwb.keras_compat import keras3_private, tf_keras_private
from tf_hfwb.keras_compat.reduced_precision import show_float32


def describe_tf_keras(model: Any) -> tuple[str, str]:
    """The configuration and the metadata of a tf_keras archive, as JSON."""
    import tf_keras

    try:
        library, switch = tf_keras_private.serialization_library(), tf_keras_private.format_switch()
    except UnsupportedVersionError:
        return _describe_by_saving(model)
    before = getattr(switch, "value", False)
    switch.value = True
    try:
        with library.ObjectSharingScope(), show_float32(model):
            config = library.serialize_keras_object(model)
    finally:
        switch.value = before
    return json.dumps(config), json.dumps({"keras_version": tf_keras.__version__})


def describe_keras3(model: Any) -> tuple[str, str]:
    """The configuration and the metadata of a Keras 3 archive, as JSON."""
    try:
        describe = keras3_private.model_writer()
    except UnsupportedVersionError:
        return _describe_by_saving(model)
    with show_float32(model):
        return describe(model)


def _describe_by_saving(model: Any) -> tuple[str, str]:
    """The same by the public way, which writes all the weights for it."""
    with tempfile.TemporaryDirectory() as name:
        file = pathlib.Path(name, "model.keras")
        with show_float32(model):
            model.save(str(file))
        with zipfile.ZipFile(file) as archive:
            return archive.read("config.json").decode(), archive.read("metadata.json").decode()
