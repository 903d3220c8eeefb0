"""The passes over the data in a ``fit`` on JAX or PyTorch: what they are read from, and the random numbers of each.

Data that is read in this process may draw from NumPy's and Python's generators: the order in which Keras reads arrays
on JAX, noise, crops. PyTorch has generators of its own, beside those of Keras's layers. Keras draws from them where a
layer has no seed (``Dropout``), and loaders draw the order of the data when a pass begins. So a fit that continues in
the middle of a pass begins it with the states of then, reads what was trained on, and only then takes those of the
checkpoint.

On PyTorch Keras has read one batch more when a checkpoint is taken between two steps. That one is read again with the
states that were there before it. A generator that a loader has for itself is left alone from the beginning of the pass
on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.process_generators import NUMPY, PYTHON, restore_process, states_of_process, to_bytes
from tf_hfwb.keras_compat.torch_loader_states import torch_loader

_LOADER = "loader"  # In the place of a device.
# The beginnings of the names in a checkpoint. The last ones are those before a batch that was not trained on yet.
_NOW, _PASS, _READ = "generators/now/", "generators/pass/", "generators/read/"

States = dict[str, Any]


class DataPasses:
    """The passes of a fit.

    Args:
        reads_ahead: Whether Keras reads a batch before the train function is called.

    Attributes:
        is_resumable: Whether checkpoints are taken of the fit. Without them the states before each batch are not kept,
            because copying them takes some 60 microseconds.
        batches: The iterator over the batches of the running pass.
        states: The states of the generators when it began; empty before there is one.
    """

    def __init__(self, *, reads_ahead: bool) -> None:
        self.is_resumable = False
        self.batches: Iterator[Any] = iter(())
        self._reads_ahead = reads_ahead
        self._own: list[Any] = []
        self.states: States = {}
        self._before_batch: States = {}

    def follow(self, epoch_iterator: Any) -> None:
        """Follow the passes of a fit that has not begun to read."""
        self._own = _own_generators(epoch_iterator.data_adapter)
        keras3_private.replace_get_iterator(epoch_iterator, self._begin)

    def _begin(self, get_iterator: Callable[[], Any]) -> Any:
        self.states = _states_of_generators(self._own)
        batches = iter(get_iterator())
        self.batches = self._read(batches) if self._reads_ahead and self.is_resumable else batches
        return self.batches

    def _read(self, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            self._before_batch = _states_on_host()
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield batch

    def batch_was_trained_on(self, logs: Any = None) -> None:
        """The batch that was read last needs not be read again."""
        self._before_batch = {}

    def to_save(self) -> dict[str, np.ndarray]:
        """The states of all generators, as of now and as of the beginning of the pass, by their names in a file."""
        parts = {_NOW: _states_of_generators(self._own), _PASS: self.states, _READ: self._before_batch}
        return {
            prefix + name: to_bytes(name, state) if name in (NUMPY, PYTHON) else state
            for prefix, states in parts.items()
            for name, state in states.items()
        }


class SavedGenerators:
    """The states of the generators in a checkpoint.

    Args:
        tensors: All tensors of the checkpoint.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._now, self._pass, self._before_batch = (
            {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            for prefix in (_NOW, _PASS, _READ)
        )

    @property
    def can_repeat(self) -> bool:
        """Whether the order can be drawn again that the interrupted pass had."""
        return bool(self._pass)

    def begin_pass(self, data_adapter: Any) -> None:
        """Let the generators draw what they drew for the interrupted pass, those of the loader too."""
        _restore(self._pass, _own_generators(data_adapter) if self._pass else ())

    def proceed(self, data_adapter: Any = None) -> None:
        """Let the generators continue as in the checkpoint, those of a loader too where its adapter is given."""
        _restore(self._now, _own_generators(data_adapter) if self._now and data_adapter is not None else ())

    def proceed_within(self, batches: Any) -> Any:
        """Let them do so in the middle of a pass; the batch that had been read is read again before.

        Args:
            batches: The iterator over the rest of the pass.

        Returns:
            The same, to be used for the next step.
        """
        if not self._before_batch:
            self.proceed()
            return batches
        return self._read_again(batches)

    def _read_again(self, batches: Iterator[Any]) -> Iterator[Any]:
        _restore(self._before_batch, ())
        for place, batch in enumerate(batches):
            if place == 0:
                self.proceed()
            yield batch


def _own_generators(data_adapter: Any) -> list[Any]:
    """The generators of a loader and of its samplers, apart from those of the process."""
    if not _has_torch():
        return []
    import torch

    loader = torch_loader(data_adapter)
    batch_sampler = getattr(loader, "batch_sampler", None)
    parts = [loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)]
    found = [getattr(part, "generator", None) for part in parts]
    return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())


def _has_torch() -> bool:
    """Whether the model, or its data, may use PyTorch: on the other backends it may not be installed."""
    return "torch" in sys.modules


def _states_on_host() -> States:
    """The states of the generators that data may draw from, by their device or name."""
    states = states_of_process()
    if _has_torch():
        import torch

        states["cpu"] = torch.get_rng_state().numpy()
    return states


def _states_of_generators(own: Sequence[Any]) -> States:
    """Those of all generators of this process, and of a loader's own, by their number."""
    states = _states_on_host()
    if not _has_torch():
        return states
    import torch

    states |= {f"{_LOADER}/{place}": generator.get_state().numpy() for place, generator in enumerate(own)}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states |= {f"cuda/{place}": state.numpy() for place, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _restore(states: States, own: Sequence[Any]) -> None:
    """Let the generators continue from there; those of devices and loaders that are not here are left out."""
    for name in (NUMPY, PYTHON):
        if name in states:  # Checkpoints of former versions do not have them here.
            restore_process(name, states[name])
    of_torch = {device: value for device, value in states.items() if device not in (NUMPY, PYTHON)}
    if not of_torch or not _has_torch():
        return
    import torch

    for device, value in of_torch.items():
        state = torch.from_numpy(np.array(value))
        kind, _, place = device.partition("/")
        if kind == "cpu":
            torch.set_rng_state(state)
        elif kind == _LOADER:
            if int(place) < len(own):
                own[int(place)].set_state(state)
        elif torch.cuda.is_available() and int(place) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, int(place))
