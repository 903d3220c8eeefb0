"""A model of Keras 3 on JAX."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.accumulation.batch_groups import BatchGroups
from tf_hfwb.keras_compat.accumulation.gradient_accumulation import GradientAccumulation
from tf_hfwb.keras_compat.accumulation.jax_accumulation import JAXAccumulation
from tf_hfwb.keras_compat.gradients.gradient_observer import GradientObserver
from tf_hfwb.keras_compat.gradients.jax_gradient_observer import attach_on_jax
from tf_hfwb.keras_compat.jax_loss_recorder import JAXRecorder
from tf_hfwb.keras_compat.keras3_host import Keras3Host
from tf_hfwb.keras_compat.learning_rates import innermost
from tf_hfwb.keras_compat.loss_functions.jax_loss_step import JAXLossStep
from tf_hfwb.keras_compat.loss_functions.loss_function import LossFunction, LossStep
from tf_hfwb.keras_compat.loss_recorder import StepRecorder
from tf_hfwb.keras_compat.variable_snapshot import snapshot_of_jax

_DETERMINISM = "--xla_gpu_deterministic_ops=true"


class Keras3JAXHost(Keras3Host):
    """``fit`` carries the values of all variables outside the model, from step to step."""

    def _loss_step(self, function: LossFunction) -> LossStep:
        return JAXLossStep(self.model, function)

    def _accumulate(self, groups: BatchGroups, epoch_batches: int, batches: int) -> GradientAccumulation:
        return JAXAccumulation(self, groups, epoch_batches, batches)

    @property
    def _recorder_class(self) -> Callable[[Any, int, Callable[[], Any] | None], StepRecorder]:
        return JAXRecorder

    def observe_gradients(self) -> GradientObserver | None:
        return attach_on_jax(self.model, innermost(self.model.optimizer))

    def make_deterministic(self) -> None:
        """On CPUs XLA is so by itself, and what it does on others is told to it when JAX starts."""
        import jax

        if jax.default_backend() != "cpu" and _DETERMINISM not in os.environ.get("XLA_FLAGS", ""):
            raise SettingError(
                "full_determinism",
                True,
                expected=f"False on JAX, where XLA_FLAGS does not have {_DETERMINISM}",
                advice=f"Set XLA_FLAGS={_DETERMINISM} before the start.",
            )

    def check_settings(self, *, use_cpu: bool, tf32: bool | None, xla: bool) -> None:
        import jax

        if use_cpu and jax.default_backend() != "cpu":
            raise SettingError(
                "use_cpu", True, expected="False on JAX", advice="Set JAX_PLATFORMS=cpu before the start."
            )
        if tf32 is not None:
            raise SettingError(
                "tf32", tf32, expected="None on JAX", advice="Set JAX_DEFAULT_MATMUL_PRECISION before the start."
            )

    def checks_of_numbers(self) -> AbstractContextManager[None]:
        import jax

        return cast("AbstractContextManager[None]", jax.debug_nans(True))

    @property
    def carries_state(self) -> bool:
        return True

    def snapshot(self, variables: Sequence[Any]) -> list[Any]:
        values = self._carried_state()  # Where there is one, the variable's own may be deleted.
        values |= {id(variable): variable.value for variable in variables if id(variable) not in values}
        return snapshot_of_jax([values[id(variable)] for variable in variables])

    def show_weights(self) -> None:
        self._show_carried_values(self.model.weights)

    def _show_all_values(self) -> None:
        model = self.model
        self._show_carried_values([*model.variables, *model.metrics_variables, *model.optimizer.variables])

    def _show_carried_values(self, variables: Iterable[Any]) -> None:
        # Not by jax_state_sync, after which Keras takes the variables for the newest values: the next step may be about
        # to run, and their buffers are donated to it.
        carried = self._carried_state()
        for variable in variables:
            if id(variable) in carried:
                variable.assign(carried[id(variable)])

    def _carried_state(self) -> dict[int, Any]:
        """The values that ``fit`` carries outside the variables, by the identity of the variable."""
        return {id(variable): value for variable, value in self._carried_pairs()}

    def _carried_pairs(self) -> Iterator[tuple[Any, Any]]:
        """Each variable with such a value. Those of the optimizer come first: a row asks for its rate."""
        model = self.model
        state = keras3_private.carried_state(model)
        if state:
            yield from zip(model.optimizer.variables, state["optimizer_variables"], strict=True)
            yield from zip(model.metrics_variables, state["metrics_variables"], strict=True)
            yield from zip(model.trainable_variables, state["trainable_variables"], strict=True)
            yield from zip(model.non_trainable_variables, state["non_trainable_variables"], strict=True)

    def _value(self, variable: Any) -> Any:
        # A copy on the device, which nobody waits for: the next step takes over the buffer.
        from jax import numpy as jnp

        return jnp.copy(self._newest(variable))

    def _newest(self, variable: Any) -> Any:
        """What ``fit`` carries of a variable; its own value where it carries none."""
        for one, value in self._carried_pairs():
            if one is variable:
                return value  # The variable's own may be deleted.
        return variable.value

    @property
    def num_replicas(self) -> int:
        """Over how many devices ``keras.distribution`` divides a batch; 1 without a distribution."""
        distribution = self.keras.distribution.distribution()
        if distribution is None:
            return 1
        mesh, name = distribution.device_mesh, distribution.batch_dim_name
        return int(mesh.shape[mesh.axis_names.index(name)]) if name in mesh.axis_names else 1

    @property
    def needs_equal_shards(self) -> bool:
        return self.num_replicas > 1

    @property
    def is_chief(self) -> bool:
        import jax

        return jax.process_index() == 0
