"""A model of Keras 3 on PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat.accumulation.batch_groups import BatchGroups
from tf_hfwb.keras_compat.accumulation.gradient_accumulation import GradientAccumulation
from tf_hfwb.keras_compat.accumulation.torch_accumulation import TorchAccumulation
from tf_hfwb.keras_compat.gradients.gradient_observer import GradientObserver
from tf_hfwb.keras_compat.gradients.torch_gradient_observer import attach_on_torch
from tf_hfwb.keras_compat.keras3_host import Keras3Host
from tf_hfwb.keras_compat.learning_rates import innermost
from tf_hfwb.keras_compat.loss_functions.loss_function import LossFunction, LossStep
from tf_hfwb.keras_compat.loss_functions.torch_loss_step import TorchLossStep
from tf_hfwb.keras_compat.loss_recorder import StepRecorder
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

    def make_deterministic(self) -> None:
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA looks at it when it starts.
        torch.use_deterministic_algorithms(True)

    def check_settings(self, *, use_cpu: bool, tf32: bool | None, xla: bool) -> None:
        device = self.keras.ops.zeros(()).device.type
        if use_cpu and device != "cpu":
            raise SettingError(
                "use_cpu",
                True,
                expected=f"False on PyTorch, where Keras computes on {device}",
                advice="Set KERAS_TORCH_DEVICE=cpu before the start.",
            )
        if tf32 is not None:
            raise SettingError(
                "tf32",
                tf32,
                expected="None on PyTorch",
                advice="Call torch.set_float32_matmul_precision('high') or ('highest') before.",
            )
        if xla:
            raise SettingError(
                "xla",
                True,
                expected="False on PyTorch, which XLA does not compile",
                advice="Leave it out; model.compile(jit_compile=True) lets torch.compile make the steps.",
            )

    def checks_of_numbers(self) -> AbstractContextManager[None]:
        import torch

        return cast("AbstractContextManager[None]", torch.autograd.detect_anomaly(check_nan=True))

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
