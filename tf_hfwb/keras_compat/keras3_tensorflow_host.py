"""A model of Keras 3 on TensorFlow."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from tf_hfwb.keras_compat import keras3_private, tensorflow_settings
from tf_hfwb.keras_compat.accumulation.batch_groups import BatchGroups
from tf_hfwb.keras_compat.accumulation.batch_weights import batch_weight
from tf_hfwb.keras_compat.accumulation.gradient_accumulation import GradientAccumulation
from tf_hfwb.keras_compat.accumulation.tensorflow_accumulation import TensorFlowAccumulation
from tf_hfwb.keras_compat.gradients.gradient_observer import GradientObserver
from tf_hfwb.keras_compat.gradients.tensorflow_gradient_observer import attach_on_tensorflow
from tf_hfwb.keras_compat.keras3_host import Keras3Host
from tf_hfwb.keras_compat.keras3_mid_epoch import begin_in_keras3
from tf_hfwb.keras_compat.learning_rates import innermost
from tf_hfwb.keras_compat.loss_functions.default_loss import without_share
from tf_hfwb.keras_compat.loss_functions.loss_function import LossFunction, LossStep
from tf_hfwb.keras_compat.loss_functions.tensorflow_loss_step import TensorFlowLossStep
from tf_hfwb.keras_compat.loss_recorder import StepRecorder
from tf_hfwb.keras_compat.mid_epoch_start import Seam
from tf_hfwb.keras_compat.replica_shares import weigh_replicas
from tf_hfwb.keras_compat.tensorflow_loss_recorder import TensorFlowRecorder
from tf_hfwb.keras_compat.variable_snapshot import read, snapshot


class Keras3TensorFlowHost(Keras3Host):
    """Variables are those of TensorFlow, and a distribution strategy may have copies of them."""

    def _loss_step(self, function: LossFunction) -> LossStep:
        return TensorFlowLossStep(self.model, function)

    def loss_as_compiled(self, labels: Any, outputs: Any, weights: Any) -> Any:
        return without_share(super().loss_as_compiled(labels, outputs, weights))

    def _accumulate(self, groups: BatchGroups, epoch_batches: int, batches: int) -> GradientAccumulation:
        is_compiled = bool(self.model.jit_compile)
        return TensorFlowAccumulation(self, groups, epoch_batches, batches, takes_pairs=False, is_compiled=is_compiled)

    def weighing_replicas(self, *, by_samples: bool, by_tokens: bool) -> AbstractContextManager[None]:
        count = batch_weight(self.model) if by_tokens else None
        if self.num_replicas == 1 or not (by_samples or count):
            return contextlib.nullcontext()
        return weigh_replicas(self.model, self.record_steps(), takes_pairs=False, count=count)

    @property
    def _recorder_class(self) -> Callable[[Any, int, Callable[[], Any] | None], StepRecorder]:
        return TensorFlowRecorder

    def make_deterministic(self) -> None:
        tensorflow_settings.make_deterministic()

    def checks_of_numbers(self) -> AbstractContextManager[None]:
        return tensorflow_settings.checks_of_numbers(self.model)

    def observe_gradients(self) -> GradientObserver | None:
        if self.num_replicas > 1 and not (self._is_mirrored and self.model.built):
            return None

        optimizer = innermost(self.model.optimizer)
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
    def _is_mirrored(self) -> bool:
        """Whether all replicas are in this process: only then they can add their gradients under a condition."""
        import tensorflow as tf

        return type(self._strategy) is tf.distribute.MirroredStrategy

    @property
    def _start_seam(self) -> Seam:
        return functools.partial(begin_in_keras3, build_metrics=_build_metrics)

    def snapshot(self, variables: Sequence[Any]) -> list[Any]:
        return snapshot([variable.value for variable in variables])

    def _value(self, variable: Any) -> Any:
        return read(variable.value)


def _build_metrics(model: Any, iterator: Any) -> None:
    """Make the metrics that are made in the first step where there is no distribution strategy."""
    import keras

    spec = iterator.data_adapter.get_tf_dataset().element_spec
    batch = keras.tree.map_structure(lambda leaf: keras.KerasTensor(tuple(leaf.shape), leaf.dtype.name), spec)
    with model.distribute_strategy.scope():
        keras3_private.symbolic_build(model)(data_batch=batch)
