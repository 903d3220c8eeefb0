"""The recorder of losses on PyTorch, for models of Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tf_hfwb.keras_compat.loss_recorder import FIRST_LOSS, MODULUS
from tf_hfwb.keras_compat.pass_recorder import PassRecorder


class TorchRecorder(PassRecorder):
    """Steps are not traced, so counters are plain numbers; losses stay on the device, where nobody waits for them."""

    _reads_ahead = True

    def __init__(self, model: Any, size: int, rate: Callable[[], Any] | None) -> None:
        import keras
        import torch

        super().__init__(model, size, rate)
        self._torch = torch
        self._keras = keras
        self._counters = [0, 0, 0, 0]
        self._losses = torch.zeros(size)  # A ring: the oldest loss is at the place of the next one.
        self._place = 0

    def capture(self) -> Any:
        """The counters and losses as of now; what is copied stays on the device until it is read."""
        return _Captured(tuple(self._counters), self._losses.clone(), self._place)

    def _assign(self, value: np.ndarray) -> None:
        self._counters = [round(float(counter)) for counter in value[1:FIRST_LOSS]]
        self._losses = self._torch.tensor(value[FIRST_LOSS:], dtype=self._torch.float32)
        self._place = 0

    def _skip_batches(self, args: tuple[Any, ...]) -> None:
        """Keras has read the batch already, and reads all others."""

    def _batch_size_of(self, data: Any) -> Any:
        leaves = [leaf for leaf in self._keras.tree.flatten(data) if leaf is not None]
        return int(leaves[0].shape[0]) if leaves and len(leaves[0].shape) else 1

    def _record(self, loss: Any, samples: Any, *, training: bool) -> None:
        if not training:
            self._count(0, 0, 1, samples)
            return
        self._append(loss.detach().float().mean())
        self._count(0 if self._part is not None else 1, samples, 0, 0)

    def _append(self, loss: Any) -> None:
        if self._losses.device != loss.device:
            self._losses = self._losses.to(loss.device)
        if self._part is not None and not self._part.is_first:
            self._losses[self._place - 1].lerp_(loss, self._part.share)
            return
        self._losses[self._place] = loss
        self._place = (self._place + 1) % self.size

    def _count(self, *added: int) -> None:
        self._counters = [(old + new) % MODULUS for old, new in zip(self._counters, added, strict=True)]

    def end_update(self) -> None:
        """Several batches have made an update."""
        self._count(1, 0, 0, 0)


class _Captured:
    """A recorder's value; as an array it is laid out as in ``loss_recorder.py``."""

    def __init__(self, counters: tuple[int, ...], losses: Any, place: int) -> None:
        self._counters = counters
        self._losses = losses
        self._place = place

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        losses = np.roll(self._losses.cpu().numpy(), -self._place)
        value = np.concatenate([[-1.0], self._counters, losses]).astype(np.float32)
        return value if dtype is None else value.astype(dtype)
