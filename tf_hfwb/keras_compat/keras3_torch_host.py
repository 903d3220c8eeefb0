"""A model of Keras 3 on PyTorch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tf_hfwb.keras_compat.accumulation.batch_groups import BatchGroups
from tf_hfwb.keras_compat.accumulation.gradient_accumulation import GradientAccumulation
from tf_hfwb.keras_compat.accumulation.torch_accumulation import TorchAccumulation
from tf_hfwb.keras_compat.gradients.gradient_observer import GradientObserver
from tf_hfwb.keras_compat.gradients.torch_gradient_observer import attach_on_torch
from tf_hfwb.keras_compat.keras3_host import Keras3Host
from tf_hfwb.keras_compat.keras3_mid_epoch import begin_in_keras3
from tf_hfwb.keras_compat.learning_rates import innermost
from tf_hfwb.keras_compat.loss_functions.loss_function import LossFunction, LossStep
from tf_hfwb.keras_compat.loss_functions.torch_loss_step import TorchLossStep
from tf_hfwb.keras_compat.loss_recorder import StepRecorder
from tf_hfwb.keras_compat.mid_epoch_start import Seam, Start
from tf_hfwb.keras_compat.torch_data_passes import SavedGenerators
from tf_hfwb.keras_compat.torch_loss_recorder import TorchRecorder


class Keras3TorchHost(Keras3Host):
    """Steps are plain Python, and variables are parameters that they change in place."""

    def _loss_step(self, function: LossFunction) -> LossStep:
        return TorchLossStep(self.model, function)

    def _accumulate(self, groups: BatchGroups, epoch_batches: int, batches: int) -> GradientAccumulation:
        return TorchAccumulation(self, groups, epoch_batches, batches)

    @property
    def _recorder_class(self) -> Callable[[Any, int, Callable[[], Any] | None], StepRecorder]:
        return TorchRecorder

    def observe_gradients(self) -> GradientObserver | None:
        return attach_on_torch(self.model, innermost(self.model.optimizer))

    @property
    def _start_seam(self) -> Seam:
        return begin_in_torch

    def snapshot(self, variables: Sequence[Any]) -> list[Any]:
        return [self._value(variable) for variable in variables]

    def _value(self, variable: Any) -> np.ndarray:
        value = np.array(self.keras.ops.convert_to_numpy(variable.value))
        # PyTorch keeps unsigned numbers in larger types.
        return value if value.dtype.name == variable.dtype else value.astype(variable.dtype)

    @property
    def is_chief(self) -> bool:
        from torch import distributed

        return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


@contextlib.contextmanager
def begin_in_torch(model: Any, start: Start) -> Iterator[None]:
    """Set up one ``fit`` that begins in the middle of an epoch."""
    with begin_in_keras3(model, start, generators=SavedGenerators(start.generators)):
        yield
