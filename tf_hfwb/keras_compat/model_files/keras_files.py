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

import logging
import zipfile
from collections.abc import Callable, Collection
from typing import Any

from tf_hfwb.checkpoint.store import Checkpoint, Draft
from tf_hfwb.keras_compat.model_files.checkpoint_files import Arrays
from tf_hfwb.keras_compat.model_files.keras_layout import Layout
from tf_hfwb.keras_compat.model_files.keras_weights import as_h5, read_plain_model, write_shards
from tf_hfwb.keras_compat.model_files.tokenizer_files import write_texts

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
            config, metadata = self._configuration
            write_texts(draft, {"config.json": config.encode(), "metadata.json": metadata.encode()}, previous)
            write_shards(draft, values, self._frozen, self._layout.groups, previous)
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

    def read(self, checkpoint: Checkpoint) -> Arrays:
        """Each weight by its place in the archive, without what layers of this model compute.

        Raises:
            CorruptCheckpointError: The file is missing, cannot be read, or holds something else.
        """
        return read_plain_model(checkpoint, self._layout)
