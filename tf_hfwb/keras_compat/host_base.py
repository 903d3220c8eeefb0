"""What callbacks need to know of a model, and do to it, in the same words for tf_keras and Keras 3."""

from __future__ import annotations

import abc
import contextlib
import importlib
import logging
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import training_variables
from tf_hfwb.keras_compat.accumulation.batch_groups import BatchGroups
from tf_hfwb.keras_compat.accumulation.gradient_accumulation import GradientAccumulation, accumulation_of
from tf_hfwb.keras_compat.backend_settings import BackendSettings
from tf_hfwb.keras_compat.common_private import direction_of_metric, function_of_metric, print_message
from tf_hfwb.keras_compat.compiled_loss import CompiledLoss
from tf_hfwb.keras_compat.gradients.gradient_observer import GradientObserver
from tf_hfwb.keras_compat.learning_rates import LearningRates, innermost
from tf_hfwb.keras_compat.loss_functions.loss_function import LossFunction, LossStep, replace_loss
from tf_hfwb.keras_compat.loss_recorder import StepRecorder
from tf_hfwb.keras_compat.mid_epoch_start import Start, forget_start
from tf_hfwb.keras_compat.model_facts import facts_of, identity_of
from tf_hfwb.keras_compat.model_files.checkpoint_files import ModelFiles
from tf_hfwb.keras_compat.model_files.keras_layout import Layout
from tf_hfwb.keras_compat.model_files.lora_files import LoRAFiles
from tf_hfwb.keras_compat.step_seams import trace_again
from tf_hfwb.keras_compat.training_variables import Variables
from tf_hfwb.keras_compat.transformers_models import computes_loss, is_of_own_class, is_of_transformers
from tf_hfwb.keras_compat.variable_snapshot import snapshot
from tf_hfwb.step_policies import higher_is_better

_logger = logging.getLogger("tf_hfwb")

# The attribute of a model with several optimizers that holds the one whose updates are counted.
_counting: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


class Host(LearningRates, BackendSettings):
    """A model and how its Keras trains it.

    Attributes:
        package: ``"tf_keras"`` or ``"keras"``.
    """

    package: str

    @property
    def keras(self) -> Any:
        """The Keras of the model."""
        return importlib.import_module(self.package)

    @property
    @abc.abstractmethod
    def ops(self) -> Any:
        """Tensor functions by their common names: ``cast``, ``where``, ``clip``, ``sin``, ``sqrt``."""

    # -- building and compiling ----------------------------------------------------------------------------------

    @property
    def is_built(self) -> bool:
        """Whether the model is known to have all of its weights.

        A class of transformers says ``built`` without the layers that the user's subclass of it may add.
        """
        return self.model.built and (is_of_own_class(self.model) or not is_of_transformers(self.model))

    def build(self) -> bool:
        """Make the weights of a transformers model if it has none; return whether it is known to have all of them."""
        if not self.model.built and is_of_transformers(self.model):
            with self.scope():
                self.model.build_in_name_scope()
        return self.is_built

    @property
    def computes_loss(self) -> bool:
        """Whether the model can be trained without a loss that it is compiled with."""
        return computes_loss(self.model)

    @property
    @abc.abstractmethod
    def is_compiled(self) -> bool:
        """Whether ``compile`` was called."""

    def set_optimizer(self, optimizer: Any) -> None:
        """Train with ``optimizer`` from now on, from the beginning; loss and metrics stay as compiled."""
        forget_start(self.model)
        if not self.is_compiled:
            loss = "auto" if self.computes_loss else None  # "auto" is that of transformers' own classes.
            self.model.compile(optimizer=optimizer, loss=loss)
            return
        self.model.optimizer = self._scaling_loss(optimizer)
        self.model.train_function = None

    @abc.abstractmethod
    def _scaling_loss(self, optimizer: Any) -> Any:
        """The optimizer, with the loss scaling that ``compile`` adds to it under float16."""

    @property
    @abc.abstractmethod
    def optimizer_class(self) -> Any:
        """The class of optimizers that update weights by a rule; see ``optimizers/``."""

    @abc.abstractmethod
    def layers(self) -> Iterable[Any]:
        """All layers of the model, however they are nested."""

    def predict_on_batch(self, inputs: Any) -> Any:
        """The model's outputs for one batch, with the weights as of now."""
        return self.model.predict_on_batch(inputs)

    def compiled_loss(self) -> CompiledLoss:
        """The loss function that the model is compiled with, sample by sample."""
        return CompiledLoss(self.keras, self.model)

    def use_loss(self, function: LossFunction | None) -> None:
        """Compute the loss by that function from now on; by the model itself when None."""
        replace_loss(self.model, function, self._loss_step)

    @abc.abstractmethod
    def _loss_step(self, function: LossFunction) -> LossStep:
        """The steps of the compiled model with that function."""

    @abc.abstractmethod
    def loss_as_compiled(self, labels: Any, outputs: Any, weights: Any) -> Any:
        """The loss of a batch that the model was compiled with, within its step; None without one."""

    # -- steps ---------------------------------------------------------------------------------------------------

    @property
    def accumulation_steps(self) -> int:
        """Number of batches of which the optimizer itself makes one step, as Keras 3's can."""
        return 1

    @property
    @abc.abstractmethod
    def steps_per_execution(self) -> int:
        """Number of batches between two calls of a batch hook."""

    @property
    def tunes_steps_per_execution(self) -> bool:
        """Whether Keras changes that number during the training (``steps_per_execution="auto"`` of tf_keras)."""
        return False

    @property
    def may_skip_steps(self) -> bool:
        """Whether a batch may pass without moving the optimizer's counter (loss scaling in Keras 3)."""
        return False

    @property
    def has_own_step(self) -> bool:
        """Whether train step or optimizer are the user's, which may make more or fewer updates than one a batch."""
        return self.has_own_optimizer or not _is_of_library(type(self.model), "train_step")

    @property
    def has_own_optimizer(self) -> bool:
        """Whether the user's own code applies the updates, which may not count them."""
        optimizer = type(innermost(self.optimizer))
        return not (_is_of_library(optimizer, "apply_gradients") and _is_of_library(optimizer, "apply"))

    @property
    def optimizer(self) -> Any:
        """The optimizer whose updates are the steps: ``model.optimizer``, or that of :meth:`count_by`; None without."""
        return getattr(self.model, self.counts_by or "optimizer", None)

    @property
    def counts_by(self) -> str | None:
        """The attribute of the model that :meth:`count_by` was given; None without."""
        return _counting.get(self.model)

    def count_by(self, name: str) -> None:
        """Count the updates of the optimizer in that attribute of a model with several optimizers, and log it."""
        _logger.warning(
            "%s has several optimizers (%s), and does not train with model.optimizer: its steps are the updates of %s.",
            type(self.model).__name__,
            ", ".join(self.other_optimizers()),
            name,
        )
        _counting[self.model] = name

    def iterations(self) -> int | None:
        """Number of batches that the optimizer has seen, read from its counter; None without an optimizer."""
        return None if self.optimizer is None else self._iterations_of(self.optimizer)

    def other_iterations(self) -> dict[str, int]:
        """The same of the optimizers beside ``model.optimizer``, by the attribute of the model."""
        return {name: self._iterations_of(getattr(self.model, name)) for name in self.other_optimizers()}

    @abc.abstractmethod
    def _iterations_of(self, optimizer: Any) -> int: ...

    @abc.abstractmethod
    def record_steps(self) -> StepRecorder:
        """Let the training graph record the loss of every step."""

    @property
    def _rate_to_hand_out(self) -> Callable[[], Any] | None:
        """The rate for the recorder; None with several optimizers, since tracing does not show which one counts."""
        return None if self.other_optimizers() else self._rate_in_graph

    @abc.abstractmethod
    def _rate_in_graph(self) -> Any:
        """The learning rate of the step that was just taken, inside the graph."""

    @abc.abstractmethod
    def observe_gradients(self) -> GradientObserver | None:
        """Let the training graph summarize gradients; None where it does not see those of the whole batch."""

    # -- accumulated gradients -----------------------------------------------------------------------------------

    @property
    def accumulation(self) -> GradientAccumulation | None:
        """The accumulation by which several batches make an update in the running ``fit``; None without one."""
        return accumulation_of(self.model)

    def accumulating(self, groups: BatchGroups, epoch_batches: int, batches: int) -> AbstractContextManager[None]:
        """Let each group of batches make one update, in the ``fit`` that is called within this context.

        Args:
            groups: The batches of an update.
            epoch_batches: The batches of the first epoch that were trained on before.
            batches: Those of all epochs.
        """
        if groups.size == 1:
            return contextlib.nullcontext()
        return self._accumulate(groups, epoch_batches, batches).running()

    @abc.abstractmethod
    def _accumulate(self, groups: BatchGroups, epoch_batches: int, batches: int) -> GradientAccumulation: ...

    def report_metrics_once(self) -> None:
        """Let Keras report each metric as it is, where it would add up the same value of all workers."""

    def weighing_replicas(self, *, by_samples: bool, by_tokens: bool) -> AbstractContextManager[None]:
        """Let each replica's gradient count as its samples do, in the ``fit`` that is called within this context.

        Args:
            by_samples: Whether replicas may have unequal numbers of them.
            by_tokens: Whether it counts as the items instead that its loss is a mean over, as the predicted tokens of
                causal language models of transformers.
        """
        return contextlib.nullcontext()

    @abc.abstractmethod
    def one_batch_per_call(self) -> AbstractContextManager[None]:
        """Let train functions take a single batch that are made or called within this context."""

    # -- the state of a training ---------------------------------------------------------------------------------

    @abc.abstractmethod
    def keep_random_state(self) -> None:
        """Let layers draw random numbers from generators whose state can be saved; call it before the first step."""

    @abc.abstractmethod
    def optimizer_variables(self) -> Variables:
        """The optimizer's variables by name; they are created if necessary."""

    def other_optimizers(self) -> list[str]:
        """The attributes of the model that hold further optimizers, as in a GAN."""
        attributes = vars(self.model).items()
        return [n for n, v in attributes if hasattr(v, "apply_gradients") and v is not self.model.optimizer]

    @abc.abstractmethod
    def random_variables(self) -> Variables:
        """The states of the layers' random generators by name."""

    @abc.abstractmethod
    def global_random_variable(self, *, make: bool = False) -> Any:
        """The state of the global random generator; None if it does not exist yet and ``make`` is False."""

    def metric_variables(self) -> Variables:
        """The accumulators of the running epoch by name."""
        return training_variables.metric_variables(self.model, without=self.record_steps().in_metrics)

    @abc.abstractmethod
    def model_files(self) -> ModelFiles:
        """How the model is written into a directory that stock tools open."""

    def lora_files(self) -> LoRAFiles | None:
        """How a model with LoRA is written without its base; None for all others, whose checkpoints are whole."""
        return None

    def _lay_out(self, lay_out: Callable[[Any, Sequence[Any]], Layout]) -> Layout | None:
        """What Keras would write of a plain model, and where; None where only Keras itself can write it."""
        try:
            return lay_out(self.model, self.weights)
        except Exception as error:  # Of the user's layers, which may do with a file of Keras's what they want.
            _logger.warning(
                "%s is saved by the model.save of its Keras, on the training thread, and larger and slower than "
                "otherwise: what its layers write could not be looked up (%s: %s). Expected layers whose "
                "save_own_variables assigns arrays of numbers to the keys of its store, and does nothing else with it.",
                type(self.model).__name__,
                type(error).__name__,
                error,
            )
            return None

    @property
    def weights(self) -> list[Any]:
        """The variables among the model's weights."""
        return list(self.model.weights)

    @abc.abstractmethod
    def _copies(self) -> Iterable[tuple[Any, list[Any]]]:
        """The layers that compute with copies of their weights, each with its copies."""

    def use_assigned_weights(self) -> None:
        """Let layers that compute with copies of their weights, such as ``Normalization``, copy them again."""
        before = [[np.array(np.asarray(one)) for one in copies] for _, copies in self._copies()]
        for layer, _ in self._copies():
            layer.finalize_state()
        after = [[np.asarray(one) for one in copies] for _, copies in self._copies()]
        pairs = [pair for two in zip(before, after, strict=True) for pair in zip(*two, strict=True)]
        changed = not all(np.array_equal(old, new) for old, new in pairs)
        if changed:  # Traced functions contain the old copies.
            trace_again(self.model)
            self.model.test_function = self.model.predict_function = None

    def show_weights(self) -> None:
        """Put the weights as of now into the variables, where they are elsewhere."""

    def snapshot(self, variables: Sequence[Any]) -> list[Any]:
        """The values of variables as of now, for :func:`numpy.asarray` on any thread; this does not wait for them."""
        return snapshot(variables)

    # -- metrics -------------------------------------------------------------------------------------------------

    def higher_is_better(self, metric: str) -> bool | None:
        """Whether more of a compiled metric is better, by the metric itself; None if no metric says so.

        Keras 3's own metrics have a direction. Of the others the name of the class or function tells, whatever the user
        calls the metric.

        Args:
            metric: Its name in the logs, without ``val_``; an output or a data set may stand in front of the metric's
                own name.
        """
        compiled = self._compiled_metrics()
        found = [one for one in compiled if one.name == metric] or [
            one for one in compiled if metric.endswith(f"_{one.name}")
        ]
        for one in found:
            direction = direction_of_metric(one)
            if direction in ("up", "down"):
                return direction == "up"
            made_of = function_of_metric(one) or type(one)
            if not higher_is_better(getattr(made_of, "__name__", "")):
                return False
        return None

    @abc.abstractmethod
    def _compiled_metrics(self) -> list[Any]:
        """The metrics that the model was compiled with, as far as they exist yet."""

    def say(self, message: str) -> None:
        """Print a line where Keras prints its own: to standard output, or into the log where that is switched off."""
        print_message(self.package, message)

    # -- resuming ------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def begin_next_fit_at(self, start: Start) -> None:
        """Let the next ``fit`` that trains begin there; until then the model stays as it is."""

    # -- facts for the run's config ------------------------------------------------------------------------------

    @property
    def carries_state(self) -> bool:
        """Whether the state of a training is outside of the model while a batch is trained on, as with Keras 3 on JAX.

        Between two steps the model can then be used only where Keras has just begun the next batch.
        """
        return False

    def _config_of(self, optimizer: Any) -> Any:
        return optimizer.get_config()

    def identity(self) -> dict[str, Any]:
        """What all workers must have the same: the model, its optimizer, the script and the versions."""
        return identity_of(self.model, None if self.optimizer is None else self._config_of(self.optimizer))

    def describe(self) -> dict[str, Any]:
        """The model, its optimizer, the versions and the distribution, for the run's config."""
        optimizer = getattr(self.model, "optimizer", None)
        facts = facts_of(self.model, None if optimizer is None else self._config_of(optimizer))
        facts["distribution/strategy"] = type(self._strategy).__name__ if self._strategy is not None else "none"
        facts["distribution/num_replicas"] = self.num_replicas
        return facts


def _is_of_library(owner: type, method: str) -> bool:
    """Whether the method was written by Keras or transformers; also when there is none."""
    for ancestor in owner.__mro__:
        if method in vars(ancestor):
            return ancestor.__module__.partition(".")[0] in ("keras", "tf_keras", "transformers")
    return True
