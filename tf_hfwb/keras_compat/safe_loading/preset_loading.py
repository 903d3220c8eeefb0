"""Load a preset of KerasHub from its directory, which somebody else may have written.

A preset is what ``save_to_preset`` writes: the configuration and the weights of the backbone (``config.json``,
``model.weights.h5``), those of the task (``task.json``, ``task.weights.h5``) and of its preprocessor
(``preprocessor.json``, ``tokenizer.json``, ``assets/``), and ``metadata.json``.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

from tf_hfwb.errors import NotACheckpointError, WeightsError
from tf_hfwb.keras_compat.safe_loading.hdf5_safety import check_hdf5
from tf_hfwb.keras_compat.safe_loading.json_files import read_object
from tf_hfwb.keras_compat.safe_loading.safe_config import check_config
from tf_hfwb.messages import first_line
from tf_hfwb.validation.installed_packages import check_packages

_NOT_ITS_OWN = ("manifest.json", "trainer_state.json")  # Of a checkpoint, which KerasHub never reads.


def is_preset(directory: pathlib.Path) -> bool:
    """Whether KerasHub has written the directory."""
    metadata = directory / "metadata.json"
    if not (metadata.is_file() and (directory / "config.json").is_file()):
        return False
    try:
        return "keras_hub_version" in json.loads(metadata.read_bytes())
    except (ValueError, TypeError, OSError, RecursionError):
        return False


def load_preset(
    directory: pathlib.Path,
    *,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """The task that a preset holds, with its preprocessor; the backbone, where there is no task.

    Args:
        directory: The preset.
        custom_objects: Classes by the names that the preset has for them.
        compile: Whether a task is compiled with the defaults of its class.
        safe_mode: Whether it may name only what :func:`.check_config` allows.

    Raises:
        CorruptCheckpointError: A file is damaged, or refers to other files.
        UnsafeModelError: It names something else.
        NotACheckpointError: KerasHub has no such class.
        MissingPackageError: It is not installed.
        WeightsError: KerasHub cannot build the model.
    """
    library = import_keras_hub(str(directory))
    import keras

    paths = [path for path in sorted(directory.glob("*.json")) if path.name not in _NOT_ITS_OWN]
    configurations = {path.name: read_object(path) for path in paths}
    for weights in directory.glob("*.weights.h5"):
        check_hdf5(weights)
    if safe_mode:
        for name, configuration in configurations.items():
            check_config(configuration, "keras", custom_objects, str(directory / name))
    has_task = "task.json" in configurations
    named = configurations["task.json" if has_task else "config.json"].get("registered_name")
    found = (custom_objects or {}).get(str(named)) or keras.saving.get_registered_object(named)
    base = library.models.Task if has_task else library.models.Backbone
    if not (isinstance(found, type) and issubclass(found, base)):
        raise NotACheckpointError(
            f"{directory} is a preset of the class {named!r}, which KerasHub {library.__version__} does not know. "
            "Expected one of its own, or one that is registered. Install a newer keras-hub, or pass load_model(..., "
            "custom_objects={'Name': Name})."
        )
    options = {} if compile or not has_task else {"compile": False}
    try:
        with keras.saving.custom_object_scope(dict(custom_objects or {})), warnings.catch_warnings():
            # A checkpoint holds the optimizer's variables in another file.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return found.from_preset(str(directory), **options)  # type: ignore[attr-defined]
    except Exception as error:  # Of Keras, h5py or KerasHub, of whatever kind.
        raise WeightsError(
            f"KerasHub cannot load {directory}: {type(error).__name__}: {first_line(error)} Expected a preset as "
            "save_to_preset writes it, with weights that fit it. Save or copy it again."
        ) from error


def import_keras_hub(source: str) -> Any:
    """KerasHub, whose classes a file names.

    Args:
        source: The file, for messages.

    Raises:
        MissingPackageError: It is not installed.
    """
    check_packages(f"The model in {source}", "keras_hub", extra="keras-hub")
    return importlib.import_module("keras_hub")
