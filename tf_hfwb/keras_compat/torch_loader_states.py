"""Where a loader of PyTorch stands, before each batch that a ``fit`` of Keras 3 gets of it, if it tells its state.

Such as torchdata's ``StatefulDataLoader``, which is known by its two methods, ``state_dict`` and ``load_state_dict``.
A fit that continues in the middle of a pass puts it there, in place of reading the batches before again.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from tf_hfwb.errors import DataError
from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.fit_arguments import fit_arguments
from tf_hfwb.keras_compat.grain_states import KEPT, is_read_by_tensorflow


class TorchLoaderStates:
    """A loader with its states; Keras iterates over this in the place of the loader.

    Args:
        loader: The loader.

    Attributes:
        loader: The same.
        begins_in_place: Whether the first pass begins behind the batches that were trained on before.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.begins_in_place = False
        self._length = _length_of(loader)
        self._states: dict[int, str | None] = {}
        self._number = 0
        self._start: str | None = None

    @classmethod
    def of_running_fit(cls, model: Any) -> TorchLoaderStates | None:
        """Those of the loader that the running ``fit`` of a model has; None where it has none, or other data."""
        iterator = fit_arguments(model).get("epoch_iterator")
        if iterator is None or is_read_by_tensorflow():
            return None
        loader = keras3_private.torch_loader(iterator.data_adapter)
        if not (hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")):
            return None
        states = cls(loader)
        keras3_private.replace_torch_loader(iterator.data_adapter, states)
        return states

    def begin_at(self, number: int, state: str | None) -> None:
        """Let the fit begin there, when it begins to read.

        Args:
            number: The batches so far.
            state: What :meth:`before` said of the next one; None reads the running pass from its beginning.
        """
        self.begins_in_place = state is not None
        self._start = state
        self._number = number if state is not None or self._length is None else number - number % self._length

    def before(self, number: int) -> str | None:
        """The state before the batch of that number, as text; None if a pass begins there, and if it is not known."""
        is_first_of_pass = not number % self._length if self._length else number == 0
        return None if is_first_of_pass else self._states.get(number)

    def __iter__(self) -> Iterator[Any]:
        """Begin a pass now: what it draws at random must not depend on when its first batch is read."""
        if self._start is not None:
            try:
                self.loader.load_state_dict(_of_plain(json.loads(self._start)))
            except Exception as error:  # Of the user's data, too.
                raise DataError(
                    f"{type(self.loader).__name__} cannot be put to the state in the checkpoint "
                    f"({type(error).__name__}: {error}). Expected the loader that the training had, with the same data "
                    "and number of workers. Pass such a loader."
                ) from error
            self._start = None
        batches = iter(self.loader)
        self._keep()
        return self._read(batches)

    def _read(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self._number += 1
            self._keep()
            yield batch

    def _keep(self) -> None:
        try:
            state: str | None = json.dumps(_plain(self.loader.state_dict()))
        except TypeError:
            state = None
        self._states[self._number] = state
        self._states.pop(self._number - KEPT, None)


def torch_loader(data_adapter: Any) -> Any:
    """The user's loader of PyTorch that a data adapter of Keras reads; None of other data."""
    found = keras3_private.torch_loader(data_adapter)
    return found.loader if isinstance(found, TorchLoaderStates) else found


def begins_in_place(data_adapter: Any) -> bool:
    """Whether the first pass over the data begins behind the batches that were trained on before."""
    found = keras3_private.torch_loader(data_adapter)
    return isinstance(found, TorchLoaderStates) and found.begins_in_place


def _length_of(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None


def _plain(value: Any) -> Any:
    """A state as what JSON can write.

    Raises:
        TypeError: There is something in it that is no data.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {"dict": [[_plain(key), _plain(one)] for key, one in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_plain(one) for one in value]}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    torch = sys.modules["torch"]
    kind = "tensor" if isinstance(value, torch.Tensor) else "array"
    array = value.numpy(force=True) if kind == "tensor" else value
    if not isinstance(array, (np.ndarray, np.generic)) or array.dtype.hasobject:
        raise TypeError(f"{type(value).__name__} is no data")
    return {kind: [array.dtype.str, list(array.shape), base64.b64encode(array.tobytes()).decode()]}


def _of_plain(value: Any) -> Any:
    """What :func:`_plain` was given."""
    if isinstance(value, list):
        return [_of_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {_of_plain(key): _of_plain(one) for key, one in content}
    if kind == "tuple":
        return tuple(_of_plain(one) for one in content)
    if kind == "bytes":
        return base64.b64decode(content)
    dtype, shape, data = content
    array = np.frombuffer(base64.b64decode(data), np.dtype(dtype)).reshape(shape).copy()
    return sys.modules["torch"].from_numpy(array) if kind == "tensor" else array
