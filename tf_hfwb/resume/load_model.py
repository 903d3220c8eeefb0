"""``load_model``: a model for use, from a directory or an artifact that may be a stranger's."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from tf_hfwb.checkpoint.manifest import MANIFEST
from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.errors import (
    CorruptCheckpointError,
    NotACheckpointError,
    SettingError,
    TFHFWBError,
    UnsafeModelError,
    WeightsError,
)
from tf_hfwb.keras_compat import (
    LORA,
    is_model_class,
    is_preset,
    load_archive,
    load_lora,
    load_preset,
    load_shards,
)
from tf_hfwb.messages import first_line
from tf_hfwb.models.pretrained import from_pretrained
from tf_hfwb.resume.find_checkpoint import find_local_path
from tf_hfwb.resume.lora_base import find_base
from tf_hfwb.validation.installed_packages import check_tf_classes
from tf_hfwb.validation.referenced_files import check_processing


def load_model(source: str | os.PathLike[str], *, safe_mode: bool = True, **options: Any) -> Any:
    """Load a model for use from an artifact's name or a directory; to continue its training, use :func:`restore`.

    The source may be a stranger's: none of its code is run, and no files but its own are read.

    Args:
        source: The name of an artifact, such as ``"model-my-run:best"``, a checkpoint's directory, or a directory that
            ``save_model``, transformers' ``save_pretrained`` or KerasHub's ``save_to_preset`` wrote.
        safe_mode: Whether a plain Keras model may only use Keras's own layers and functions, registered ones and those
            in ``custom_objects``. False loads whatever it names, and runs its lambdas: for a source that you trust.
        **options: For transformers' ``from_pretrained``, or Keras's ``load_model`` (``custom_objects``, ``compile``).

    Returns:
        The model: of the class that wrote it, for transformers; for plain Keras models of the Keras that wrote it. A
        task of KerasHub has its preprocessor, and is compiled with the defaults of its class.

    Raises:
        MissingPackageError: It is a model of a package that is not installed: of transformers 4, tf_keras or Keras 3.
        NotACheckpointError: There is no model at ``source``; or it has LoRA's adapters, and their base is not found.
        CorruptCheckpointError: The directory's files are not those that were written, or cannot be read.
        UnsafeModelError: It could run code, or read files that do not belong to it.
        WeightsError: Weights are missing, or do not fit the configuration; or Keras cannot build the model.
        SettingError: An option is not for a model of that kind.
        ArtifactNotFoundError: There is no artifact of that name.
        ServerError: W&B cannot be asked for it, and it was not logged on this machine.

    Example:
        >>> import tempfile
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     model.save(f"{directory}/model.keras")
        ...     loaded = load_model(directory)
        >>> loaded.count_params()
        10
    """
    path = find_local_path(source)
    if (path / MANIFEST).exists():
        Checkpoint.open(path).verify()
    archive = path / "model.keras" if path.is_dir() else path
    if archive.is_file() and archive.suffix == ".keras":
        _check_keras_options(options)
        return load_archive(archive, safe_mode=safe_mode, **options)
    if path.is_dir() and is_preset(path):
        _check_keras_options(options)
        return load_preset(path, safe_mode=safe_mode, **options)
    if (path / "model.weights.json").is_file():
        _check_keras_options(options)
        return load_shards(path, safe_mode=safe_mode, **options)
    if (path / LORA).is_file():
        _check_keras_options(options)
        checkpoint = Checkpoint.open(path)
        return load_lora(checkpoint, find_base(checkpoint), safe_mode=safe_mode, **options)
    if (path / "config.json").is_file():
        _check_transformers_options(safe_mode, options)
        return _load_transformers_model(path, options)
    raise _unsafe_format(path) or _no_model(path)


def _check_keras_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name not in ("custom_objects", "compile"):
            raise SettingError(
                name,
                value,
                expected="for a plain Keras model custom_objects, compile and safe_mode alone",
                advice="Leave it out: it is for models of transformers.",
            )


def _check_transformers_options(safe_mode: bool, options: Mapping[str, Any]) -> None:
    if not safe_mode:
        raise SettingError(
            "safe_mode",
            safe_mode,
            expected="True for a model of transformers, whose configuration names no code",
            advice="Leave it out.",
        )
    if "custom_objects" in options:
        raise SettingError(
            "custom_objects",
            options["custom_objects"],
            expected="nothing for a model of transformers, whose class is one of transformers' own",
            advice="Leave it out.",
        )


def _load_transformers_model(path: pathlib.Path, options: Mapping[str, Any]) -> Any:
    """A TF model of transformers, of the class that wrote it.

    Raises:
        WeightsError: It cannot be built, or some of its weights are missing and would be random.
    """
    check_tf_classes(f"The model in {path}")
    model_class = _architecture_of(path)
    try:
        check_processing(path)
        model, info = from_pretrained(model_class, path, **{**options, "output_loading_info": True})
    except TFHFWBError:
        raise
    except Exception as error:  # A configuration can say anything, so transformers and Keras may fail in any way.
        raise WeightsError(
            f"{model_class.__name__} cannot be made of {path}: {type(error).__name__}: {first_line(error)}. Expected a "
            "configuration and weights as save_pretrained writes them. Save the model there again."
        ) from error
    _check_no_weights_missing(model, info["missing_keys"], path)
    return (model, info) if options.get("output_loading_info", False) else model


def _check_no_weights_missing(model: Any, missing_keys: Iterable[str], path: pathlib.Path) -> None:
    # transformers counts layers of tf_model.h5 without weights as missing when their names end in other numbers, as
    # they do in every process.
    layers = {layer.name: layer for layer in model.layers}
    missing = sorted(name for name in missing_keys if name not in layers or layers[name].weights)
    if not missing:
        return
    listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    name = type(model).__name__
    raise WeightsError(
        f"Weights of {name} are not in {path}: {listed}. Expected all of them, as the rest would be random. Save the "
        f"model again; or load it with from_pretrained({name}, {str(path)!r}) and train it."
    )


# Endings of files that hold a model and can run code as they are loaded: why they can, and how to load them anyway.
_UNSAFE_FORMATS = {
    (".h5", ".hdf5"): (
        "a whole model in HDF5, the format of Keras before model.keras, may have Python bytecode in it",
        "keras.models.load_model(FILE) or tf_keras.models.load_model(FILE)",
    ),
    ("saved_model.pb",): (
        "a SavedModel is a program, which can read and write files when it runs",
        "tf.saved_model.load(DIRECTORY)",
    ),
    (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"): (
        "a pickle runs code as it is read",
        "the library that wrote it, or from_pretrained(CLASS, DIRECTORY, from_pt=True) for weights of PyTorch",
    ),
}


def _unsafe_format(path: pathlib.Path) -> UnsafeModelError | None:
    """The error for a model in a format that can run code; None if there is none."""
    names = [path.name] if path.is_file() else []
    if path.is_dir():
        names = [file.name for file in path.iterdir()]
    for endings, (why, how) in _UNSAFE_FORMATS.items():
        found = [name for name in names if name.endswith(endings) and not name.endswith(".weights.h5")]
        if found:
            return UnsafeModelError(
                f"{path} is not loaded: {found[0]} could run code, as {why}. Expected model.keras, or config.json with "
                f"model.safetensors. If you trust whoever made it, load it with {how}, and save it with "
                "model.save('model.keras') or save_pretrained(DIRECTORY)."
            )
    return None


def _no_model(path: pathlib.Path) -> NotACheckpointError:
    checkpoints = Store(path).checkpoints() if path.is_dir() else []
    if checkpoints:
        advice = f"It holds checkpoints: name one of them. The newest is {checkpoints[-1].path}."
    elif path.is_file():
        advice = "It is a file of another kind: a whole model of Keras's own is one whose name ends in .keras."
    elif path.is_dir():
        advice = f"Files there: {', '.join(sorted(p.name for p in path.iterdir())) or 'none'}."
    else:
        advice = (
            "There is no such directory. The name of an artifact has an alias, as in model-my-run:latest; a model of "
            "the hub is loaded with from_pretrained(...) first, and saved with save_pretrained(DIRECTORY)."
        )
    return NotACheckpointError(
        f"{path} holds no model. Expected the name of an artifact, or a directory with config.json and "
        f"model.safetensors, or with model.keras. {advice}"
    )


def _architecture_of(path: pathlib.Path) -> Any:
    """The TF class of transformers that the configuration names."""
    import transformers

    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        names, auto_map = config.get("architectures") or [], config.get("auto_map")
    except (ValueError, AttributeError, RecursionError) as error:
        raise CorruptCheckpointError(
            f"{path / 'config.json'} is no configuration of a model: {first_line(error)}. Expected a JSON object, as "
            "save_pretrained writes it. Save the model there again, or use another checkpoint."
        ) from error
    first = names[0] if isinstance(names, list) and names else None
    found = getattr(transformers, f"TF{first}", None) if isinstance(first, str) else None
    if is_model_class(found):
        return found
    if auto_map:
        raise UnsafeModelError(
            f"{path} is not loaded: its class {first} is code that comes with it (auto_map). Expected a TF class of "
            "transformers. If you trust whoever made it, from_pretrained(TFAutoModelFor..., "
            f"{str(path)!r}, trust_remote_code=True) runs that code."
        )
    raise NotACheckpointError(
        f"{path / 'config.json'} names the architecture {names}, of which transformers has no TF class. "
        f"Expected one of its own. Load it with from_pretrained(YourClass, {str(path)!r})."
    )
