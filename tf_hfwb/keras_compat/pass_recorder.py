"""What the recorders on JAX and PyTorch have in common: they follow the passes over the data of each ``fit``."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from tf_hfwb.keras_compat.data_passes import DataPasses
from tf_hfwb.keras_compat.fit_arguments import fit_arguments
from tf_hfwb.keras_compat.loss_recorder import StepRecorder


class PassRecorder(StepRecorder):
    """Knows the random numbers that reading the data may draw, besides recording the steps.

    Attributes:
        passes: The passes over the data in the running fit, or in the last one.
    """

    _reads_ahead = False  # Whether Keras reads a batch before the train function is called.

    def __init__(self, model: Any, size: int, rate: Callable[[], Any] | None) -> None:
        super().__init__(model, size, rate)
        self.passes = DataPasses(reads_ahead=self._reads_ahead)
        self._followed: Callable[[], Any] = lambda: None

    def process_generators(self) -> dict[str, np.ndarray]:
        """The states of the process's generators as of now, and as of the beginning of the running pass."""
        return self.passes.to_save()

    def prepare_checkpoints(self) -> None:
        """Keep the states before each batch too, where Keras reads one ahead."""
        self.passes.is_resumable = True

    def watch_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """As in the base class; in the first fit this is when the model gets its recorder."""
        self._follow_data()
        return super().watch_function(function)

    def _follow_data(self) -> None:
        iterator = fit_arguments(self._model()).get("epoch_iterator")
        if iterator is not None and iterator is not self._followed():
            self._followed = weakref.ref(iterator)
            self.passes.follow(iterator)
            if self._reads_ahead:
                self.hooks.after.insert(0, self.passes.batch_was_trained_on)
