"""Load a plain model of tf_keras or Keras 3 from its files, which somebody else may have written."""

from __future__ import annotations

import contextlib
import importlib
import pathlib
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from tf_hfwb.errors import CorruptCheckpointError, WeightsError
from tf_hfwb.keras_compat.host_lookup import host_of
from tf_hfwb.keras_compat.safe_loading.allowed_names import transformers_classes
from tf_hfwb.keras_compat.safe_loading.archive_safety import check_archive
from tf_hfwb.keras_compat.safe_loading.hdf5_safety import check_hdf5
from tf_hfwb.keras_compat.safe_loading.json_files import parse_object, read_object
from tf_hfwb.keras_compat.safe_loading.preset_loading import import_keras_hub
from tf_hfwb.keras_compat.safe_loading.safe_config import check_config
from tf_hfwb.validation.installed_packages import check_packages
from tf_hfwb.validation.referenced_files import is_beside

_INDEX = "model.weights.json"


def load_archive(
    path: pathlib.Path,
    *,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """Load ``model.keras`` with the Keras that wrote it.

    Args:
        path: The file.
        custom_objects: Classes and functions by the names that the model has for them.
        compile: Whether it is compiled as it was.
        safe_mode: Whether it may name only what :func:`.check_config` allows.

    Raises:
        MissingPackageError: The Keras that wrote it is not installed.
        CorruptCheckpointError: The file is damaged, or refers to other files.
        UnsafeModelError: It names something else.
        WeightsError: Keras cannot build the model.
    """
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        metadata = parse_object(archive.read("metadata.json") if "metadata.json" in archive.namelist() else b"", path)
        config = parse_object(archive.read("config.json") if "config.json" in archive.namelist() else b"", path)
    name = "tf_keras" if str(metadata.get("keras_version")).startswith("2.") else "keras"
    check_packages(f"The model in {path}", name, extra="tf_hfwb[transformers]" if name == "tf_keras" else "keras")
    _import_named_library(config, str(path))
    if safe_mode:
        check_config(config, name, custom_objects, str(path))
    if name == "tf_keras":
        custom_objects = {**transformers_classes(config), **(custom_objects or {})}
    keras = importlib.import_module(name)
    with _loading(path):
        model = keras.models.load_model(path, custom_objects=custom_objects, compile=compile, safe_mode=safe_mode)
        host_of(model).use_assigned_weights()  # tf_keras does not restore that its Discretization was adapted.
        return model


def load_shards(
    directory: pathlib.Path,
    *,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """Load a Keras 3 model whose weights are in shards; see :func:`load_archive`."""
    index, path = directory / _INDEX, directory / "config.json"
    config = read_object(path)
    for shard in _shards(read_object(index), index):
        check_hdf5(shard)
    _import_named_library(config, str(directory))
    if safe_mode:
        check_config(config, "keras", custom_objects, str(directory))
    import keras

    with _loading(directory):
        if not compile:
            config.pop("compile_config", None)
        model = keras.saving.deserialize_keras_object(config, custom_objects=custom_objects, safe_mode=safe_mode)
        model.load_weights(index)
        return model


def _import_named_library(config: Mapping[str, Any], source: str) -> None:
    """Import KerasHub where the model is one of its tasks, so that its classes are registered."""
    module = config.get("module")
    if isinstance(module, str) and module.partition(".")[0] == "keras_hub":
        import_keras_hub(source)


def _shards(index: Mapping[str, Any], path: pathlib.Path) -> list[pathlib.Path]:
    """The files that an index names, and those that Keras opens without being named."""
    weight_map = index.get("weight_map")
    files = [weight_map] if not isinstance(weight_map, dict) else list(weight_map.values())
    names: list[Any] = [name for one in files for name in (one if isinstance(one, list) else [one])]
    for name in names:
        if not is_beside(name) or not path.with_name(name).is_file():
            raise CorruptCheckpointError(
                f"{path} names the file {name!r}. Expected shards of weights that lie beside it. Copy or save the "
                "model again, or use another checkpoint."
            )
    return sorted({path.with_name(name) for name in names} | set(path.parent.glob("model_*.weights.h5")))


@contextlib.contextmanager
def _loading(path: pathlib.Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            # A checkpoint holds the optimizer's variables in another file.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer .* optimizer has 0 variables")
            # Keras would leave such layers with their random initial weights.
            warnings.filterwarnings("error", "Skipping nested container")
            yield
    except Exception as error:
        raise WeightsError(
            f"Keras cannot load {path}: {type(error).__name__}: {error}\nExpected a model of classes that Keras knows, "
            "and weights that fit it. Register classes of your own, or pass load_model(..., "
            "custom_objects={'Name': Name}); or save the model again."
        ) from error
