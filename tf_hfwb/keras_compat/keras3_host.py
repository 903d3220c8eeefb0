"""A model of Keras 3, as far as it is the same on all of its backends."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import keras3_private, keras3_variables
from tf_hfwb.keras_compat.host_base import Host
from tf_hfwb.keras_compat.hub_tasks import predict_prepared, prepares_inputs
from tf_hfwb.keras_compat.keras3_mid_epoch import begin_in_keras3
from tf_hfwb.keras_compat.learning_rates import innermost
from tf_hfwb.keras_compat.loss_recorder import StepRecorder
from tf_hfwb.keras_compat.mid_epoch_start import Seam, Start, begin_next_fit_at
from tf_hfwb.keras_compat.model_files import archive_texts
from tf_hfwb.keras_compat.model_files.checkpoint_files import ModelFiles
from tf_hfwb.keras_compat.model_files.keras_archive import KerasArchive
from tf_hfwb.keras_compat.model_files.keras_files import KerasFiles
from tf_hfwb.keras_compat.model_files.keras_layout import lay_out_keras3
from tf_hfwb.keras_compat.model_files.lora_files import LoRAFiles, lora_files_of
from tf_hfwb.keras_compat.model_files.preset_files import preset_files_of
from tf_hfwb.keras_compat.step_seams import put_recorder_into
from tf_hfwb.keras_compat.training_variables import Variables, frozen_variables


class Keras3Host(Host):
    """What each backend adds is in a class of its own, whose module imports only what that backend needs."""

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

    def loss_as_compiled(self, labels: Any, outputs: Any, weights: Any) -> Any:
        compiled = keras3_private.compiled_loss(self.model)
        return None if compiled is None else compiled(labels, outputs, weights)

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

    @property
    def may_skip_steps(self) -> bool:
        return innermost(self.optimizer) is not self.optimizer

    def _iterations_of(self, optimizer: Any) -> int:
        return int(np.asarray(self._value(keras3_private.iterations(innermost(optimizer)))))

    @property
    @abc.abstractmethod
    def _recorder_class(self) -> Callable[[Any, int, Callable[[], Any] | None], StepRecorder]:
        """Makes a recorder of losses."""

    def record_steps(self) -> StepRecorder:
        return put_recorder_into(
            self.model,
            self._recorder_class,
            tracker=keras3_private.loss_tracker(self.model),
            steps_per_execution=self.steps_per_execution,
            rate=self._rate_to_hand_out,
        )

    def _compiled_metrics(self) -> list[Any]:
        return [inner for outer in self.model.metrics for inner in getattr(outer, "metrics", ())]

    def keep_random_state(self) -> None:
        """It is in variables of the layers already."""

    def begin_next_fit_at(self, start: Start) -> None:
        begin_next_fit_at(self.model, start, self._start_seam)

    @property
    def _start_seam(self) -> Seam:
        """How a ``fit`` is told to begin in the middle of an epoch."""
        return begin_in_keras3

    def optimizer_variables(self) -> Variables:
        return keras3_variables.optimizer_variables(self.model)

    def random_variables(self) -> Variables:
        return keras3_variables.random_variables(self.model)

    def global_random_variable(self, *, make: bool = False) -> Any:
        return keras3_variables.global_random_variable(make=make)

    def model_files(self) -> ModelFiles:
        frozen = frozen_variables(keras3_private.all_layers(self.model), keras3_private.own_variables)
        preset = preset_files_of(self.model, self.weights, frozen, self.show_weights)
        if preset is not None:
            return preset
        layout = self._lay_out(lay_out_keras3)
        if layout is None:
            return KerasArchive(self.model, self.weights, self._show_all_values)
        return KerasFiles(self.model, archive_texts.describe_keras3, layout, frozen, self.show_weights)

    def lora_files(self) -> LoRAFiles | None:
        return lora_files_of(self.model, self.weights, self.show_weights)

    def _show_all_values(self) -> None:
        """Do as ``show_weights`` with all that the model is saved with."""

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

    @abc.abstractmethod
    def _value(self, variable: Any) -> Any:
        """The variable's value as of now, also in the middle of ``fit``."""

    def describe(self) -> dict[str, Any]:
        facts = super().describe()
        facts["keras/backend"] = self.keras.backend.backend()
        distribution = self.keras.distribution.distribution()
        if distribution is not None:
            facts["distribution/strategy"] = type(distribution).__name__
        return facts


def _takes_step(rate: Any) -> bool:
    return hasattr(rate, "get_config") and callable(rate)
