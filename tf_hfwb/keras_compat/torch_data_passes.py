"""The passes over the data in a ``fit`` on PyTorch: what they are read from, and the random numbers of each.

PyTorch has generators of its own, beside those of Keras's layers. Keras draws from them where a layer has no seed
(``Dropout``), and loaders draw the order of the data when a pass begins. So a fit that continues in the middle of a
pass begins it with the states of then, reads what was trained on, and only then takes those of the checkpoint.
A generator that a loader has for itself is left alone from the beginning of the pass on: Keras may have read one batch
more when the checkpoint was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.torch_loader_states import torch_loader

_LOADER = "loader"  # In the place of a device.
_NOW, _PASS = "generators/now/", "generators/pass/"  # The beginnings of the names in a checkpoint.

States = dict[str, np.ndarray]


class DataPasses:
    """The passes of a fit.

    Attributes:
        batches: The iterator over the batches of the running pass.
        states: The states of the generators when it began; empty before there is one.
    """

    def __init__(self) -> None:
        self.batches: Iterator[Any] = iter(())
        self._own: list[Any] = []
        self.states: States = {}

    def follow(self, epoch_iterator: Any) -> None:
        """Follow the passes of a fit that has not begun to read."""
        self._own = _own_generators(epoch_iterator.data_adapter)
        keras3_private.replace_get_iterator(epoch_iterator, self._begin)

    def _begin(self, get_iterator: Callable[[], Any]) -> Any:
        self.states = _states_of_generators(self._own)
        self.batches = iter(get_iterator())
        return self.batches

    def to_save(self) -> States:
        """The states of all generators, as of now and as of the beginning of the pass, by their names in a file."""
        now = {_NOW + device: state for device, state in _states_of_generators(self._own).items()}
        return now | {_PASS + device: state for device, state in self.states.items()}


class SavedGenerators:
    """The states of the generators in a checkpoint.

    Args:
        tensors: All tensors of the checkpoint.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._now, self._pass = (
            {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            for prefix in (_NOW, _PASS)
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


def _own_generators(data_adapter: Any) -> list[Any]:
    """The generators of a loader and of its samplers, apart from those of the process."""
    import torch

    loader = torch_loader(data_adapter)
    batch_sampler = getattr(loader, "batch_sampler", None)
    parts = [loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)]
    found = [getattr(part, "generator", None) for part in parts]
    return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())


def _states_of_generators(own: Sequence[Any]) -> States:
    """The states of the generators of this process, by their device, and of a loader's own, by their number."""
    import torch

    states = {"cpu": torch.get_rng_state().numpy()}
    states |= {f"{_LOADER}/{place}": generator.get_state().numpy() for place, generator in enumerate(own)}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states |= {f"cuda/{place}": state.numpy() for place, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _restore(states: States, own: Sequence[Any]) -> None:
    """Let the generators continue from there; those of devices and loaders that are not here are left out."""
    if not states:  # As on the other backends, where PyTorch may not be installed.
        return
    import torch

    for device, value in states.items():
        state = torch.from_numpy(np.array(value))
        kind, _, place = device.partition("/")
        if kind == "cpu":
            torch.set_rng_state(state)
        elif kind == _LOADER:
            if int(place) < len(own):
                own[int(place)].set_state(state)
        elif torch.cuda.is_available() and int(place) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, int(place))
