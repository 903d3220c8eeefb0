"""A plain model of tf_keras or Keras 3 in a checkpoint, written from values that were taken earlier.

Keras can only write a model with the values that its variables have now. So the structure (the configuration, the
places of variables, and the assets) is looked up once, on the training thread. The files are written later, on another
thread. They hold all that Keras's own ``save`` would write, except the optimizer:

* ``model.keras``, the archive that ``keras.models.load_model`` opens;
* for a Keras 3 model with frozen layers, Keras's sharded weights: ``config.json`` for ``keras.models.model_from_json``
  and ``model.weights.json`` for ``load_weights``. The shard of what is frozen does not change from checkpoint to
  checkpoint, so it is linked instead of written. Parts of an archive cannot be shared.
"""

from __future__ import annotations

import io
import logging
import re
import zipfile
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from tf_hfwb.checkpoint.store import Checkpoint, Draft
from tf_hfwb.errors import CorruptCheckpointError
from tf_hfwb.keras_compat.model_files.keras_layout import Arrays, Layout
from tf_hfwb.keras_compat.model_files.tokenizer_files import write_texts
from tf_hfwb.keras_compat.safe_loading.archive_safety import weights_of_archive
from tf_hfwb.keras_compat.safe_loading.hdf5_safety import open_hdf5

_logger = logging.getLogger("tf_hfwb")


class KerasFiles:
    """A plain model of tf_keras or Keras 3, without its optimizer.

    Args:
        model: The model, built.
        describe: Gives the configuration and the metadata of the archive, as JSON.
        layout: What Keras would write of it.
        frozen: The identities of frozen variables, where Keras can read weights in shards.
        synchronize: Brings the values of a running ``fit`` into the model, where they are outside of it.

    Attributes:
        variables: Each weight by its place in the archive.
        digests: Digests of what the model's layers have learned outside weights.
    """

    def __init__(
        self,
        model: Any,
        describe: Callable[[Any], tuple[str, str]],
        layout: Layout,
        frozen: Collection[int] = (),
        synchronize: Callable[[], object] | None = None,
    ) -> None:
        self._layout = layout
        self._synchronize = synchronize
        self.variables: dict[str, Any] = layout.variables
        self.digests: dict[str, str] = layout.digests
        # Values that a layer computes at each save do not belong into the shard that never changes.
        self._frozen = [
            name
            for name, variable in self.variables.items()
            if id(variable) in frozen and layout.groups[name] not in layout.writers
        ]
        if layout.num_left_out:
            _logger.warning(
                "%d weights of %s are in layers that Keras leaves out when it saves: they are in the training state, "
                "and not in model.keras. restore takes both; a model loaded for use lacks them.",
                layout.num_left_out,
                type(model).__name__,
            )
        if layout.texts:
            _logger.warning(
                "Layers of %s save something that is not a number (%s): checkpoints leave it out, and load_model "
                "cannot give it to them. Expected numbers. Save texts as files, in save_assets.",
                type(model).__name__,
                ", ".join(layout.texts[:3]),
            )
        try:
            self._configuration: tuple[str, str] | None = describe(model)
        except Exception as error:
            self._configuration = None
            _logger.warning(
                "%s cannot be written as model.keras (%s: %s). Its checkpoints hold model.weights.h5 instead, which "
                "load_weights opens. To have the model in them, give it a get_config().",
                type(model).__name__,
                type(error).__name__,
                error,
            )

    def compute_values(self) -> Arrays:
        """What layers compute at a save, by its place in the archive; call it on the training thread."""
        if self._layout.writers and self._synchronize is not None:
            self._synchronize()
        return self._layout.compute_values()

    def write(self, draft: Draft, values: Arrays, previous: Checkpoint | None) -> None:
        """Write the model.

        Args:
            draft: Where to.
            values: Each weight by its place in the archive, and what :meth:`compute_values` gave.
            previous: An earlier checkpoint, whose files may be linked.
        """
        # Sharded weights cannot have assets beside them.
        if self._configuration is not None and not self._layout.assets and 0 < len(self._frozen) < len(values):
            self._write_shards(draft, values, previous, *self._configuration)
            return
        weights = as_h5(values)
        if self._configuration is None:
            with draft.open("model.weights.h5") as file:
                file.write(weights)
            return
        config, metadata = self._configuration
        with draft.open("model.keras") as file, zipfile.ZipFile(file, "w") as archive:
            archive.writestr("metadata.json", metadata)
            archive.writestr("config.json", config)
            with archive.open("model.weights.h5", "w", force_zip64=True) as entry:
                entry.write(weights)
            for name, content in self._layout.assets.items():
                archive.writestr(name, content)

    def _write_shards(
        self, draft: Draft, values: Arrays, previous: Checkpoint | None, config: str, metadata: str
    ) -> None:
        write_texts(draft, {"config.json": config.encode(), "metadata.json": metadata.encode()}, previous)
        frozen = {name: values[name] for name in self._frozen}
        trained = {name: value for name, value in values.items() if name not in frozen}
        places: dict[str, list[str]] = {}
        for shard, tensors in (("model_00000.weights.h5", frozen), ("model_00001.weights.h5", trained)):
            for name in tensors:
                files = places.setdefault("/" + self._layout.groups[name], [])
                files += [] if shard in files else [shard]
            weights = as_h5(tensors)
            if tensors is trained or not draft.reuse_same(shard, [weights], previous):
                with draft.open(shard) as file:
                    file.write(weights)
        size = sum(value.nbytes for value in values.values())
        draft.write_json("model.weights.json", {"metadata": {"total_size": size}, "weight_map": places})

    def read(self, checkpoint: Checkpoint) -> Arrays:
        """Each weight by its place in the archive, without what layers of this model compute.

        Raises:
            CorruptCheckpointError: The file is missing, cannot be read, or holds something else.
        """
        if "model.keras" in checkpoint.files:
            with weights_of_archive(checkpoint.path / "model.keras") as file:
                return self._without_computed(_of_h5(file))
        shards = [name for name in checkpoint.files if re.fullmatch(r"model_\d{5}\.weights\.h5", name)]
        if not shards and "model.weights.h5" not in checkpoint.files:
            raise CorruptCheckpointError(
                f"{checkpoint.path} holds no weights: its manifest names neither model.keras nor model.weights.h5. "
                "Expected one of them, as this package writes it. Use another checkpoint."
            )
        arrays: Arrays = {}
        for name in shards or ["model.weights.h5"]:
            with open_hdf5(checkpoint.path / name, f"{checkpoint.path / name}") as file:
                arrays |= _of_h5(file)
        return self._without_computed(arrays)

    def _without_computed(self, arrays: Arrays) -> Arrays:
        return {name: value for name, value in arrays.items() if not self._layout.is_computed(name)}


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
