"""Where the weights of a pretrained model are, in a directory or on the hub, and whether they can be opened safely."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tf_hfwb.errors import CorruptCheckpointError, WeightsError
from tf_hfwb.keras_compat.safe_loading.hdf5_safety import check_hdf5
from tf_hfwb.keras_compat.transformers_private import at_commit_of, without_errors
from tf_hfwb.validation.referenced_files import shards_of


def safetensors_files(name: str, hub: Mapping[str, Any], config: Any) -> list[str]:
    """The safetensors files of a checkpoint; none when it has weights of another kind.

    Args:
        name: The directory, file or model's name.
        hub: The arguments that say where to look on the hub.
        config: The model's configuration.

    Raises:
        WeightsError: They cannot be looked for, or an index names files that are not there.
    """
    from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

    if os.path.isfile(name):
        return [name] if name.endswith(".safetensors") else []
    return _find_files(name, SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, hub, config)


def check_tensorflow_weights(name: str, hub: Mapping[str, Any], config: Any) -> None:
    """Refuse HDF5 that refers to other files, which transformers would read.

    Args:
        name: As for :func:`safetensors_files`.
        hub: As for :func:`safetensors_files`.
        config: As for :func:`safetensors_files`.

    Raises:
        WeightsError: It does so, or is damaged; or an index names files that do not lie beside it.
    """
    from transformers.utils import TF2_WEIGHTS_INDEX_NAME, TF2_WEIGHTS_NAME

    if os.path.isfile(name):
        files = [name] if name.endswith((".h5", ".hdf5")) else []
    else:
        files = _find_files(name, TF2_WEIGHTS_NAME, TF2_WEIGHTS_INDEX_NAME, hub, config)
    for file in files:
        try:
            check_hdf5(file)
        except CorruptCheckpointError as error:
            raise no_weights(name, error) from error


def _find_files(name: str, file_name: str, index_name: str, hub: Mapping[str, Any], config: Any) -> list[str]:
    """The file of that name, or the shards that the index of that name lists; none when there is neither."""
    from transformers.utils import cached_file

    where = {**hub, **at_commit_of(config)}
    optional = without_errors()
    try:
        file = cached_file(name, file_name, **where, **optional)
        index_file = None if file else cached_file(name, index_name, **where, **optional)
    except OSError as error:
        raise no_weights(name, error) from error
    if file:
        return [file]
    return _shard_files(name, index_file, where) if index_file else []


def _shard_files(name: str, index_file: str, where: Mapping[str, Any]) -> list[str]:
    # Not get_checkpoint_shard_files: it fails on an index without "metadata", and does not say which shard is missing.
    from transformers.utils.hub import cached_files

    shard_names = shards_of(index_file)
    try:
        return list(cached_files(name, shard_names, **where))
    except OSError as error:
        folder = os.path.dirname(index_file)
        missing = [shard for shard in shard_names if not os.path.isfile(os.path.join(folder, shard))]
        raise WeightsError(
            f"{index_file} names files that cannot be found: {', '.join(missing)}. Expected every shard beside its "
            "index. Download or copy the missing files."
        ) from error


def open_safetensors(file: str) -> Any:
    """Open a file for reading its tensors one by one.

    Raises:
        WeightsError: It cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        # "tf" and not "np": the loader transposes with TensorFlow and knows a wrong shape by TensorFlow's error.
        return safe_open(file, framework="tf")
    except (SafetensorError, OSError) as error:
        if _is_git_lfs_pointer(file):
            raise WeightsError(
                f"{file} is a git-lfs pointer and holds no weights. Expected a safetensors file. "
                "Run `git lfs install` and `git lfs pull` in its repository, or load the model by its hub name."
            ) from error
        raise WeightsError(
            f"{file} cannot be read: {error}. Expected a complete safetensors file. "
            "Save or download it again (force_download=True for a model of the hub)."
        ) from error


def _is_git_lfs_pointer(file: str) -> bool:
    start = b"version https://git-lfs"
    if not os.path.isfile(file):
        return False
    with open(file, "rb") as stream:
        return stream.read(len(start)) == start


def no_weights(source: str, reason: object) -> WeightsError:
    """The error for weights that cannot be found or read."""
    return WeightsError(
        f"Cannot load weights from {source!r}: {reason}\n"
        "Expected model.safetensors (or model.safetensors.index.json and its shards), tf_model.h5 or, with PyTorch "
        "installed and from_pt=True, pytorch_model.bin. Check that the files are there and complete."
    )
