"""A plain model in a checkpoint, written by the ``save`` of its Keras itself: for models that cannot be laid out.

A layer of the user's may write in ways that only a file of Keras's own takes. Then the archive is made on the training
thread, at each step that is saved, with the optimizer in it; all weights are in the training state as well, and put
back from there.
"""

from __future__ import annotations

import hashlib
import logging
import pathlib
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tf_hfwb.checkpoint.store import Checkpoint, Draft
from tf_hfwb.keras_compat.model_files.checkpoint_files import Arrays
from tf_hfwb.keras_compat.reduced_precision import show_float32
from tf_hfwb.keras_compat.safe_loading.archive_safety import weights_of_archive
from tf_hfwb.keras_compat.safe_loading.hdf5_safety import open_hdf5

_logger = logging.getLogger("tf_hfwb")

_ARCHIVE, _WEIGHTS = "model.keras", "model.weights.h5"


class KerasArchive:
    """A plain model of tf_keras or Keras 3, as its own Keras writes it.

    Args:
        model: The model, built.
        weights: Its weights.
        synchronize: Brings the values of a running ``fit`` into the model, where they are outside of it.

    Attributes:
        variables: Empty: the training state has all weights.
        digests: Empty: what layers have learned is in the archive, where nobody compares it.
    """

    def __init__(self, model: Any, weights: Sequence[Any], synchronize: Callable[[], object] | None = None) -> None:
        self.variables: dict[str, Any] = {}
        self.digests: dict[str, str] = {}
        self._model = model
        self._weights = weights
        self._synchronize = synchronize
        self._is_compared = False

    def compute_values(self) -> Arrays:
        """The file as of now, by its name, as bytes; on the training thread."""
        if self._synchronize is not None:
            self._synchronize()
        with tempfile.TemporaryDirectory() as name:
            path = self._save(pathlib.Path(name))
            if not self._is_compared:
                self._is_compared = True
                self._compare(path)
            return {path.name: np.fromfile(path, np.uint8)}

    def write(self, draft: Draft, values: Arrays, previous: Checkpoint | None) -> None:
        """Write what :meth:`compute_values` gave; nothing is linked."""
        for name, content in values.items():
            with draft.open(name) as file:
                file.write(content.data)

    def read(self, checkpoint: Checkpoint) -> Arrays:
        """Nothing: the weights are read with the training state."""
        return {}

    def _save(self, directory: pathlib.Path) -> pathlib.Path:
        archive = directory / _ARCHIVE
        try:
            with show_float32(self._model):
                self._model.save(str(archive))
        except Exception as error:
            weights = directory / _WEIGHTS
            self._model.save_weights(str(weights))
            if not self._is_compared:
                _logger.warning(
                    "%s cannot be written as %s (%s: %s). Its checkpoints hold %s instead, which load_weights opens. "
                    "To have the model in them, give it a get_config().",
                    type(self._model).__name__,
                    _ARCHIVE,
                    type(error).__name__,
                    error,
                    _WEIGHTS,
                )
            return weights
        return archive

    def _compare(self, path: pathlib.Path) -> None:
        """Say which of the model's weights are not in the file as they are."""
        opened = weights_of_archive(path) if path.name == _ARCHIVE else open_hdf5(path, path.name)
        found: Counter[bytes] = Counter()
        with opened as file:
            file.visititems(lambda _, item: found.update([_digest_of(item)] if hasattr(item, "dtype") else []))
        missing = []
        for variable in self._weights:
            digest = _digest_of(variable)
            if not found[digest]:
                missing.append(str(getattr(variable, "path", variable.name)))
            found[digest] -= 1
        if missing:
            _logger.warning(
                "%d weights of %s are not in %s as they are (%s): they are in the training state. restore takes both; "
                "a model loaded for use has what its layers load.",
                len(missing),
                type(self._model).__name__,
                path.name,
                ", ".join(missing[:3]),
            )


def _digest_of(value: Any) -> bytes:
    return hashlib.sha256(np.asarray(value).tobytes()).digest()
