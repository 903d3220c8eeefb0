"""The observer of gradients on PyTorch, for models of Keras 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.gradients.gradient_observer import MODULUS, GradientObserver, empty_record
from tf_hfwb.keras_compat.gradients.histogram_bins import SIZE, vector_in_torch
from tf_hfwb.keras_compat.gradients.optimizer_seams import put_observer_into


def attach_on_torch(model: Any, optimizer: Any) -> GradientObserver:
    """The same on PyTorch; arguments as in :func:`attach_on_tensorflow`."""
    return put_observer_into(model, optimizer, lambda variables: TorchObserver(variables, optimizer))


class TorchObserver(GradientObserver):
    """Nothing is traced, so the window is two plain numbers, and outside of it a step does nothing."""

    def __init__(self, variables: Sequence[Any], optimizer: Any) -> None:
        super().__init__(variables)
        self._counter = keras3_private.iterations(optimizer)
        self._window = -1, -1
        self._record: Any = empty_record(len(self.variables))

    def look_at(self, first: int, last: int) -> None:
        self._window = first, last

    def capture(self) -> Any:
        # It is replaced by the next one, and never written.
        return self._record

    def observe(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        first, last = self._window
        if last < 0:
            return
        counter = int(self._counter.value)
        if not first <= counter <= last:
            return
        import torch

        with torch.no_grad():
            placed = self._placed(gradients, variables)
            device = next(iter(placed.values())).device if placed else "cpu"
            rows = [torch.full([SIZE], -1.0, device=device)] * len(self.variables)
            for place, gradient in placed.items():
                rows[place] = vector_in_torch(gradient)
            written = torch.full([SIZE], float(counter % MODULUS), device=device)
            self._record = _Vectors(torch.stack([*rows, written]))


class _Vectors:
    """A record that stays on its device until it is read."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self._tensor.cpu().numpy()
        return array if dtype is None else array.astype(dtype)
