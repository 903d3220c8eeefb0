"""The files of weights of a plain model, as Keras lays them out: HDF5, whole or in shards."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from tf_hfwb.checkpoint.store import Checkpoint, Draft
from tf_hfwb.errors import CorruptCheckpointError
from tf_hfwb.keras_compat.model_files.checkpoint_files import Arrays
from tf_hfwb.keras_compat.model_files.keras_layout import Layout
from tf_hfwb.keras_compat.safe_loading.archive_safety import weights_of_archive
from tf_hfwb.keras_compat.safe_loading.hdf5_safety import open_hdf5

WEIGHTS = "model.weights.h5"

_ARCHIVE, _INDEX = "model.keras", "model.weights.json"


def write_shards(
    draft: Draft, values: Arrays, frozen: Collection[str], groups: Mapping[str, str], previous: Checkpoint | None
) -> None:
    """Write weights in two shards, of which the first one does not change from checkpoint to checkpoint.

    Args:
        draft: Where to.
        values: Each weight by its place.
        frozen: The places of those that do not change.
        groups: The group of each place.
        previous: An earlier checkpoint, whose files may be linked.
    """
    unchanged = {name: values[name] for name in frozen}
    trained = {name: value for name, value in values.items() if name not in unchanged}
    places: dict[str, list[str]] = {}
    for shard, tensors in (("model_00000.weights.h5", unchanged), ("model_00001.weights.h5", trained)):
        for name in tensors:
            files = places.setdefault("/" + groups[name], [])
            files += [] if shard in files else [shard]
        write_h5(draft, shard, tensors, previous if tensors is unchanged else None)
    size = sum(value.nbytes for value in values.values())
    draft.write_json(_INDEX, {"metadata": {"total_size": size}, "weight_map": places})


def write_h5(draft: Draft, name: str, values: Arrays, previous: Checkpoint | None) -> None:
    """Write a file of weights, or link the same one of an earlier checkpoint."""
    weights = as_h5(values)
    if not draft.reuse_same(name, [weights], previous):
        with draft.open(name) as file:
            file.write(weights)


def read_plain_model(checkpoint: Checkpoint, layout: Layout) -> Arrays:
    """Each weight of a plain model by its place in the archive, without what its layers compute.

    Args:
        checkpoint: The checkpoint.
        layout: What Keras would write of the model that it is read for.

    Raises:
        CorruptCheckpointError: The file is missing, cannot be read, or holds something else.
    """
    if _ARCHIVE in checkpoint.files:
        with weights_of_archive(checkpoint.path / _ARCHIVE) as file:
            return without_computed(_of_h5(file), layout)
    return without_computed(read_h5(checkpoint), layout)


def read_h5(checkpoint: Checkpoint, name: str = WEIGHTS) -> Arrays:
    """Each array of a file of weights by its place; of the model's file also where it is in shards.

    Raises:
        CorruptCheckpointError: The file is missing, cannot be read, or holds something else.
    """
    shards: Iterable[str] = ()
    if name == WEIGHTS:
        shards = [file for file in checkpoint.files if re.fullmatch(r"model_\d{5}\.weights\.h5", file)]
    if not shards and name not in checkpoint.files:
        raise CorruptCheckpointError(
            f"{checkpoint.path} holds no weights: its manifest names neither model.keras nor {name}. "
            "Expected one of them, as this package writes it. Use another checkpoint."
        )
    arrays: Arrays = {}
    for one in shards or [name]:
        with open_hdf5(checkpoint.path / one, f"{checkpoint.path / one}") as file:
            arrays |= _of_h5(file)
    return arrays


def without_computed(arrays: Arrays, layout: Layout) -> Arrays:
    """The arrays that are variables of a model."""
    return {name: value for name, value in arrays.items() if not layout.is_computed(name)}


def as_h5(values: Arrays) -> memoryview:
    """The file of weights as Keras lays it out."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.require_group("vars")  # Of the model itself; tf_keras looks for it even when it is empty.
        for name, value in values.items():
            dataset = file.create_dataset(name, data=value)
            if value.dtype.name == "bfloat16":
                dataset.attrs["dtype"] = "bfloat16"
    return buffer.getbuffer()


def _of_h5(file: Any) -> Arrays:
    """The arrays of a file that has been checked."""
    import h5py
    import ml_dtypes

    arrays: Arrays = {}

    def take(place: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            value = np.array(item)
            if item.attrs.get("dtype") == "bfloat16":
                value = value.view(ml_dtypes.bfloat16)
            arrays[place] = value

    file.visititems(take)
    return arrays
