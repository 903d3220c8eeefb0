"""A model of tf_keras, transformers' TF classes among them."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from tf_hfwb.keras_compat import tensorflow_private, tensorflow_settings, tf_keras_private, tf_keras_variables
from tf_hfwb.keras_compat.accumulation.batch_groups import BatchGroups
from tf_hfwb.keras_compat.accumulation.batch_weights import batch_weight
from tf_hfwb.keras_compat.accumulation.gradient_accumulation import GradientAccumulation
from tf_hfwb.keras_compat.accumulation.tensorflow_accumulation import TensorFlowAccumulation
from tf_hfwb.keras_compat.gradients.gradient_observer import GradientObserver
from tf_hfwb.keras_compat.gradients.tensorflow_gradient_observer import attach_on_tensorflow
from tf_hfwb.keras_compat.host_base import Host
from tf_hfwb.keras_compat.learning_rates import innermost
from tf_hfwb.keras_compat.loss_functions.default_loss import without_share
from tf_hfwb.keras_compat.loss_functions.loss_function import LossFunction, LossStep, loss_step_of
from tf_hfwb.keras_compat.loss_functions.tf_keras_loss_step import TFKerasLossStep
from tf_hfwb.keras_compat.loss_recorder import StepRecorder
from tf_hfwb.keras_compat.mid_epoch_start import Start, begin_next_fit_at
from tf_hfwb.keras_compat.model_files import archive_texts
from tf_hfwb.keras_compat.model_files.checkpoint_files import ModelFiles
from tf_hfwb.keras_compat.model_files.keras_archive import KerasArchive
from tf_hfwb.keras_compat.model_files.keras_files import KerasFiles
from tf_hfwb.keras_compat.model_files.keras_layout import lay_out_tf_keras
from tf_hfwb.keras_compat.model_files.transformers_files import TransformersFiles
from tf_hfwb.keras_compat.replica_shares import weigh_replicas
from tf_hfwb.keras_compat.step_seams import put_recorder_into, trace_again
from tf_hfwb.keras_compat.tensorflow_loss_recorder import TensorFlowRecorder
from tf_hfwb.keras_compat.tf_keras_generators import keep_random_state
from tf_hfwb.keras_compat.tf_keras_mid_epoch import begin_in_tf_keras
from tf_hfwb.keras_compat.training_variables import Variables
from tf_hfwb.keras_compat.transformers_models import is_of_transformers
from tf_hfwb.keras_compat.variable_snapshot import read


class TFKerasHost(Host):
    """Counters and rate are variables of TensorFlow; with ``steps_per_execution`` a step draws several batches."""

    package = "tf_keras"

    @property
    def ops(self) -> Any:
        import tensorflow as tf

        return types.SimpleNamespace(cast=tf.cast, clip=tf.clip_by_value, where=tf.where, sin=tf.sin, sqrt=tf.sqrt)

    @property
    def is_compiled(self) -> bool:
        return tf_keras_private.is_compiled(self.model)

    def _scaling_loss(self, optimizer: Any) -> Any:
        return tf_keras_private.optimizer_wrapper(self.model)(optimizer)

    def _loss_step(self, function: LossFunction) -> LossStep:
        return TFKerasLossStep(self.model, function)

    def loss_as_compiled(self, labels: Any, outputs: Any, weights: Any) -> Any:
        step = loss_step_of(self.model)
        container = step.replaced if isinstance(step, TFKerasLossStep) else self.model.compiled_loss
        return without_share(container(labels, outputs, weights))

    @property
    def optimizer_class(self) -> Any:
        from tf_hfwb.keras_compat.optimizers.tf_keras_optimizer import TFKerasOptimizer

        return TFKerasOptimizer

    def layers(self) -> Iterable[Any]:
        return self.model.submodules

    @property
    def steps_per_execution(self) -> int:
        steps = tf_keras_private.steps_per_execution(self.model)
        return 1 if steps is None else int(steps.numpy())

    @property
    def tunes_steps_per_execution(self) -> bool:
        return bool(self.model.autotune_steps_per_execution)

    def _compiled_metrics(self) -> list[Any]:
        return [metric for metric in self.model.metrics if metric.name != "loss"]

    def predict_on_batch(self, inputs: Any) -> Any:
        self.model.make_predict_function()  # With the user's number of steps, because the model keeps it.
        with self.one_batch_per_call():
            return super().predict_on_batch(inputs)

    @contextlib.contextmanager
    def one_batch_per_call(self) -> Iterator[None]:
        number = self.steps_per_execution
        if number == 1:
            yield
            return
        steps = tf_keras_private.steps_per_execution(self.model)
        steps.assign(1)
        try:
            yield
        finally:
            steps.assign(number)

    def _accumulate(self, groups: BatchGroups, epoch_batches: int, batches: int) -> GradientAccumulation:
        is_compiled = tf_keras_private.is_compiled_by_xla(self.model) or self.is_on_tpu
        return TensorFlowAccumulation(self, groups, epoch_batches, batches, takes_pairs=True, is_compiled=is_compiled)

    def weighing_replicas(self, *, by_samples: bool, by_tokens: bool) -> AbstractContextManager[None]:
        count = batch_weight(self.model) if by_tokens else None
        if self.num_replicas == 1 or not (by_samples or count):
            return contextlib.nullcontext()
        return weigh_replicas(self.model, self.record_steps(), takes_pairs=True, count=count)

    def _iterations_of(self, optimizer: Any) -> int:
        return int(read(optimizer.iterations).numpy())

    def report_metrics_once(self) -> None:
        # "auto" adds up over workers; but each of them has the metric of all samples already.
        if self.is_multi_worker and self.model.distribute_reduction_method == "auto":
            self.model.distribute_reduction_method = "first"

    def record_steps(self) -> StepRecorder:
        self.report_metrics_once()
        compiled_loss = getattr(self.model, "compiled_loss", None)
        return put_recorder_into(
            self.model,
            TensorFlowRecorder,
            tracker=None if compiled_loss is None else tf_keras_private.loss_tracker(compiled_loss),
            steps_per_execution=self.steps_per_execution,
            rate=self._rate_to_hand_out,
        )

    def make_deterministic(self) -> None:
        tensorflow_settings.make_deterministic()

    def checks_of_numbers(self) -> AbstractContextManager[None]:
        return tensorflow_settings.checks_of_numbers(self.model)

    def observe_gradients(self) -> GradientObserver | None:
        optimizer = innermost(self.model.optimizer)
        if tf_keras_variables.native_optimizer(optimizer) is not None or (
            self.num_replicas > 1 and not self.model.built
        ):
            return None

        return attach_on_tensorflow(
            self.model,
            optimizer,
            lambda: optimizer.iterations,
            strategy=self._strategy,
            is_compiled=lambda: tf_keras_private.is_compiled_by_xla(self.model) or self.is_on_tpu,
            is_local=False,
        )

    def keep_random_state(self) -> None:
        if keep_random_state(self.model):
            trace_again(self.model)

    def begin_next_fit_at(self, start: Start) -> None:
        begin_next_fit_at(self.model, start, begin_in_tf_keras)

    def optimizer_variables(self) -> Variables:
        return tf_keras_variables.optimizer_variables(self.model)

    def random_variables(self) -> Variables:
        return tf_keras_variables.random_variables(self.model)

    def global_random_variable(self, *, make: bool = False) -> Any:
        return tf_keras_variables.global_random_variable(make=make)

    def model_files(self) -> ModelFiles:
        if is_of_transformers(self.model):
            return TransformersFiles(self.model)
        layout = self._lay_out(lay_out_tf_keras)
        if layout is None:
            return KerasArchive(self.model, self.weights)
        return KerasFiles(self.model, archive_texts.describe_tf_keras, layout)

    @property
    def weights(self) -> list[Any]:
        # Lookup layers have an object among their weights that is not a variable, for TensorFlow's oldest formats.
        handler = tf_keras_private.weight_handler_class()
        return [weight for weight in self.model.weights if not isinstance(weight, handler)]

    def _copies(self) -> Iterable[tuple[Any, list[Any]]]:
        layers = self.keras.layers
        for layer in self.layers():
            if isinstance(layer, layers.Normalization):
                yield layer, [layer.mean, layer.variance]
            elif isinstance(layer, layers.Discretization):
                yield layer, [layer.bin_boundaries]

    def _rate_in_graph(self) -> Any:
        rate = _rate_of(self.model.optimizer)
        if rate is None:
            return -1.0  # Unknown, as where no rate is handed out.
        if hasattr(rate, "read_value"):
            return rate.read_value()
        return rate(self.model.optimizer.iterations - 1) if callable(rate) else rate

    def learning_rate(self, iterations: int) -> Any:
        if self.optimizer is None:
            return None
        rate = _rate_of(self.optimizer)
        if hasattr(rate, "read_value"):  # Constant, or the value that a new optimizer keeps of its schedule.
            return read(rate)
        return (lambda: rate(iterations - 1)) if callable(rate) else rate

    def constant_rate(self, optimizer: Any) -> float | None:
        rate = innermost(optimizer).get_config().get("learning_rate")
        return None if rate is None or isinstance(rate, dict) else float(rate)

    def give_schedule(self, optimizer: Any, schedule: Any) -> None:
        optimizer = innermost(optimizer)
        if isinstance(optimizer, self.keras.optimizers.legacy.Optimizer):
            super().give_schedule(optimizer, schedule)
            return
        with self.scope():
            tf_keras_private.set_learning_rate(optimizer, schedule)

    def _config_of(self, optimizer: Any) -> Any:
        native = tf_keras_variables.native_optimizer(optimizer)
        return super()._config_of(optimizer) if native is None else {"name": type(native).__name__}


def _rate_of(optimizer: Any) -> Any:
    native = tf_keras_variables.native_optimizer(optimizer)
    if native is None:
        return optimizer.learning_rate
    rate = tensorflow_private.rate_of_native_optimizer(native)
    return None if callable(rate) else rate
