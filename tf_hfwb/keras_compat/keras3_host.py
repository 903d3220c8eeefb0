"""A model of Keras 3, on TensorFlow or on JAX."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import keras3_private, keras3_variables
from tf_hfwb.keras_compat.accumulation.batch_groups import BatchGroups
from tf_hfwb.keras_compat.accumulation.gradient_accumulation import GradientAccumulation
from tf_hfwb.keras_compat.accumulation.jax_accumulation import JAXAccumulation
from tf_hfwb.keras_compat.accumulation.tensorflow_accumulation import TensorFlowAccumulation
from tf_hfwb.keras_compat.gradients.gradient_observer import GradientObserver
from tf_hfwb.keras_compat.gradients.jax_gradient_observer import attach_on_jax
from tf_hfwb.keras_compat.gradients.tensorflow_gradient_observer import attach_on_tensorflow
from tf_hfwb.keras_compat.host_base import Host
from tf_hfwb.keras_compat.hub_tasks import predict_prepared, prepares_inputs
from tf_hfwb.keras_compat.jax_loss_recorder import JAXRecorder
from tf_hfwb.keras_compat.keras3_mid_epoch import begin_in_keras3
from tf_hfwb.keras_compat.learning_rates import innermost
from tf_hfwb.keras_compat.loss_functions.default_loss import without_share
from tf_hfwb.keras_compat.loss_functions.jax_loss_step import JAXLossStep
from tf_hfwb.keras_compat.loss_functions.loss_function import LossFunction, LossStep
from tf_hfwb.keras_compat.loss_functions.tensorflow_loss_step import TensorFlowLossStep
from tf_hfwb.keras_compat.loss_recorder import StepRecorder
from tf_hfwb.keras_compat.mid_epoch_start import Start, begin_next_fit_at
from tf_hfwb.keras_compat.model_files import archive_texts
from tf_hfwb.keras_compat.model_files.keras_archive import KerasArchive
from tf_hfwb.keras_compat.model_files.keras_files import KerasFiles
from tf_hfwb.keras_compat.model_files.keras_layout import lay_out_keras3
from tf_hfwb.keras_compat.model_files.lora_files import LoRAFiles, lora_files_of
from tf_hfwb.keras_compat.replica_shares import weigh_replicas
from tf_hfwb.keras_compat.step_seams import put_recorder_into
from tf_hfwb.keras_compat.tensorflow_loss_recorder import TensorFlowRecorder
from tf_hfwb.keras_compat.training_variables import Variables, frozen_variables
from tf_hfwb.keras_compat.variable_snapshot import read, snapshot


class Keras3Host(Host):
    """On JAX ``fit`` carries the values of all variables outside the model, from step to step."""

    package = "keras"

    @property
    def ops(self) -> Any:
        return self.keras.ops

    @property
    def is_compiled(self) -> bool:
        return bool(self.model.compiled)

    def _scaling_loss(self, optimizer: Any) -> Any:
        optimizers = self.keras.optimizers
        optimizer = optimizers.get(optimizer)
        if self.model.dtype_policy.name == "mixed_float16" and innermost(optimizer) is optimizer:
            return optimizers.LossScaleOptimizer(optimizer)
        return optimizer

    def _loss_step(self, function: LossFunction) -> LossStep:
        return (JAXLossStep if _backend() == "jax" else TensorFlowLossStep)(self.model, function)

    def loss_as_compiled(self, labels: Any, outputs: Any, weights: Any) -> Any:
        compiled = keras3_private.compiled_loss(self.model)
        loss = None if compiled is None else compiled(labels, outputs, weights)
        return loss if _backend() == "jax" else without_share(loss)

    @property
    def optimizer_class(self) -> Any:
        from tf_hfwb.keras_compat.optimizers.keras3_optimizer import Keras3Optimizer

        return Keras3Optimizer

    def predict_on_batch(self, inputs: Any) -> Any:
        # A task of KerasHub would prepare inputs that have been prepared in the pipeline.
        return predict_prepared(self.model, inputs) if prepares_inputs(self.model) else super().predict_on_batch(inputs)

    def layers(self) -> Iterable[Any]:
        return keras3_private.all_layers(self.model)

    @property
    def accumulation_steps(self) -> int:
        return getattr(innermost(self.optimizer), "gradient_accumulation_steps", None) or 1

    @property
    def steps_per_execution(self) -> int:
        return int(self.model.steps_per_execution)

    @contextlib.contextmanager
    def one_batch_per_call(self) -> Iterator[None]:
        number = self.model.steps_per_execution
        if number == 1:
            yield
            return
        self.model.steps_per_execution = 1  # What is traced looks at it, too.
        try:
            yield
        finally:
            self.model.steps_per_execution = number

    def _accumulate(self, groups: BatchGroups, epoch_batches: int, batches: int) -> GradientAccumulation:
        if _backend() == "jax":
            return JAXAccumulation(self, groups, epoch_batches, batches)
        is_compiled = bool(self.model.jit_compile)
        return TensorFlowAccumulation(self, groups, epoch_batches, batches, takes_pairs=False, is_compiled=is_compiled)

    @property
    def may_skip_steps(self) -> bool:
        return innermost(self.optimizer) is not self.optimizer

    def weighing_replicas(self) -> AbstractContextManager[None]:
        if self.num_replicas == 1 or _backend() == "jax":  # JAX computes with the batch as a whole.
            return contextlib.nullcontext()
        return weigh_replicas(self.model, self.record_steps(), takes_pairs=False)

    def _iterations_of(self, optimizer: Any) -> int:
        return int(np.asarray(self._value(keras3_private.iterations(innermost(optimizer)))))

    def record_steps(self) -> StepRecorder:
        return put_recorder_into(
            self.model,
            JAXRecorder if _backend() == "jax" else TensorFlowRecorder,
            tracker=keras3_private.loss_tracker(self.model),
            steps_per_execution=self.steps_per_execution,
            rate=self._rate_to_hand_out,
        )

    def _compiled_metrics(self) -> list[Any]:
        return [inner for outer in self.model.metrics for inner in getattr(outer, "metrics", ())]

    def observe_gradients(self) -> GradientObserver | None:
        optimizer = innermost(self.model.optimizer)
        if _backend() == "jax":
            return attach_on_jax(self.model, optimizer)
        if self.num_replicas > 1 and not (self._is_mirrored and self.model.built):
            return None

        iterations = keras3_private.iterations(optimizer)
        return attach_on_tensorflow(
            self.model,
            optimizer,
            lambda: iterations.value,
            strategy=self._strategy,
            is_compiled=lambda: bool(self.model.jit_compile),
            is_local=True,
        )

    @property
    def carries_state(self) -> bool:
        return _backend() == "jax"

    @property
    def _is_mirrored(self) -> bool:
        """Whether all replicas are in this process: only then they can add their gradients under a condition."""
        import tensorflow as tf

        return type(self._strategy) is tf.distribute.MirroredStrategy

    def keep_random_state(self) -> None:
        """It is in variables of the layers already."""

    def begin_next_fit_at(self, start: Start) -> None:
        begin_next_fit_at(self.model, start, begin_in_keras3)

    def optimizer_variables(self) -> Variables:
        return keras3_variables.optimizer_variables(self.model)

    def random_variables(self) -> Variables:
        return keras3_variables.random_variables(self.model)

    def global_random_variable(self, *, make: bool = False) -> Any:
        return keras3_variables.global_random_variable(make=make)

    def model_files(self) -> KerasFiles | KerasArchive:
        frozen = frozen_variables(keras3_private.all_layers(self.model), keras3_private.own_variables)
        layout = self._lay_out(lay_out_keras3)
        if layout is None:
            return KerasArchive(self.model, self.weights, self._show_all_carried_values)
        return KerasFiles(self.model, archive_texts.describe_keras3, layout, frozen, self._show_carried_weights)

    def lora_files(self) -> LoRAFiles | None:
        return lora_files_of(self.model, self.weights, self._show_carried_weights)

    def snapshot(self, variables: Sequence[Any]) -> list[Any]:
        if _backend() == "tensorflow":
            return snapshot([variable.value for variable in variables])
        carried = self._carried_state()

        values = []
        for variable in variables:
            carried_value = carried.get(id(variable))  # Where there is one, the variable's own may be deleted.
            values.append(np.array(variable.value if carried_value is None else carried_value))
        return values

    def _show_carried_weights(self) -> None:
        self._show_carried_values(self.model.weights)

    def _show_all_carried_values(self) -> None:
        model = self.model
        self._show_carried_values([*model.variables, *model.metrics_variables, *model.optimizer.variables])

    def _show_carried_values(self, variables: Iterable[Any]) -> None:
        """Put what ``fit`` carries on JAX into the variables."""
        if _backend() != "jax":
            return
        # Not by jax_state_sync, after which Keras takes the variables for the newest values: the next step may be about
        # to run, and their buffers are donated to it.
        carried = self._carried_state()
        for variable in variables:
            if id(variable) in carried:
                variable.assign(carried[id(variable)])

    def _carried_state(self) -> dict[int, Any]:
        """On JAX: the values that ``fit`` carries outside the variables, by the identity of the variable."""
        model = self.model
        state = keras3_private.carried_state(model)
        if not state:
            return {}
        owners = {
            "trainable_variables": model.trainable_variables,
            "non_trainable_variables": model.non_trainable_variables,
            "optimizer_variables": model.optimizer.variables,
            "metrics_variables": model.metrics_variables,
        }
        pairs = (pair for kind, owned in owners.items() for pair in zip(owned, state[kind], strict=True))
        return {id(variable): value for variable, value in pairs}

    def _copies(self) -> Iterable[tuple[Any, list[Any]]]:
        for layer in self.layers():
            if isinstance(layer, self.keras.layers.Normalization):
                yield layer, [layer.mean, layer.variance]

    def _rate_in_graph(self) -> Any:
        optimizer = innermost(self.model.optimizer)
        rate = keras3_private.learning_rate(optimizer)
        if hasattr(rate, "path"):
            return rate.value
        return rate(keras3_private.iterations(optimizer) - 1) if _takes_step(rate) else rate()

    def learning_rate(self, iterations: int) -> Any:
        if self.optimizer is None:
            return None
        rate = keras3_private.learning_rate(innermost(self.optimizer))
        if hasattr(rate, "path"):  # A variable, to which Keras's own LearningRateScheduler assigns.
            return self._value(rate)
        if _takes_step(rate):
            # Keras 3 evaluates its schedule before it counts the step.
            return lambda: rate(iterations - 1)
        return rate

    def constant_rate(self, optimizer: Any) -> float | None:
        rate = keras3_private.learning_rate(innermost(optimizer))
        return float(np.asarray(rate.value)) if hasattr(rate, "path") else None

    def _value(self, variable: Any) -> Any:
        """The variable's value as of now, also in the middle of ``fit``."""
        if _backend() == "tensorflow":
            return read(variable.value)
        return self.snapshot([variable])[0]

    @property
    def num_replicas(self) -> int:
        if _backend() == "jax":
            return _shards_of_batch()
        return super().num_replicas

    @property
    def needs_equal_shards(self) -> bool:
        return _backend() == "jax" and self.num_replicas > 1

    @property
    def is_chief(self) -> bool:
        if _backend() == "jax":
            import jax

            return jax.process_index() == 0
        return super().is_chief

    def describe(self) -> dict[str, Any]:
        facts = super().describe()
        facts["keras/backend"] = _backend()
        distribution = self.keras.distribution.distribution()
        if distribution is not None:
            facts["distribution/strategy"] = type(distribution).__name__
        return facts


def _takes_step(rate: Any) -> bool:
    return hasattr(rate, "get_config") and callable(rate)


def _shards_of_batch() -> int:
    """Over how many devices ``keras.distribution`` divides a batch; 1 without a distribution."""
    import keras

    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh, name = distribution.device_mesh, distribution.batch_dim_name
    return int(mesh.shape[mesh.axis_names.index(name)]) if name in mesh.axis_names else 1


def _backend() -> str:
    import keras

    return keras.backend.backend()
