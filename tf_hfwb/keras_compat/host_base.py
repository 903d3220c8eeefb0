"""What the callbacks need to know of a model, the same for tf_keras and Keras 3."""

from __future__ import annotations

import abc
import contextlib
import importlib
import logging
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import training_variables
from tf_hfwb.keras_compat.common_private import direction_of_metric, function_of_metric, print_message
from tf_hfwb.keras_compat.compiled_loss import CompiledLoss
from tf_hfwb.keras_compat.gradient_observer import GradientObserver
from tf_hfwb.keras_compat.keras_archive import KerasArchive
from tf_hfwb.keras_compat.keras_files import KerasFiles
from tf_hfwb.keras_compat.keras_layout import Layout
from tf_hfwb.keras_compat.loss_recorder import StepRecorder
from tf_hfwb.keras_compat.mid_epoch_start import Start, forget_start
from tf_hfwb.keras_compat.model_facts import facts_of
from tf_hfwb.keras_compat.step_seams import trace_again
from tf_hfwb.keras_compat.training_variables import Variables
from tf_hfwb.keras_compat.transformers_files import TransformersFiles
from tf_hfwb.keras_compat.transformers_models import computes_loss, is_of_own_class, is_of_transformers
from tf_hfwb.keras_compat.variable_snapshot import snapshot
from tf_hfwb.step_policies import higher_is_better

_logger = logging.getLogger("tf_hfwb")

# The attribute of a model with several optimizers that holds the one whose updates are counted.
_counting: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


class Host(abc.ABC):
    """A model, seen through the Keras that it belongs to.

    Attributes:
        model: The model.
        package: ``"tf_keras"`` or ``"keras"``.
    """

    package: str

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def keras(self) -> Any:
        """The Keras of the model."""
        return importlib.import_module(self.package)

    @property
    @abc.abstractmethod
    def ops(self) -> Any:
        """Tensor functions by their common names: ``cast``, ``where``, ``cos``, ``clip``."""

    # -- building and compiling ----------------------------------------------------------------------------------

    @property
    def is_built(self) -> bool:
        """Whether the model is known to have all of its weights.

        A subclass of a transformers class may have layers that this one, which says ``built``, does not know.
        """
        return self.model.built and (is_of_own_class(self.model) or not is_of_transformers(self.model))

    def build(self) -> bool:
        """Make the weights of a transformers model that has none yet; whether it is known to have all of them now."""
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
        """Train with ``optimizer`` from now on, from the beginning; loss and metrics stay as they were compiled."""
        forget_start(self.model)
        if not self.is_compiled:
            self.model.compile(optimizer=optimizer, loss="auto")  # The loss of transformers' own classes.
            return
        self.model.optimizer = self._scaling_loss(optimizer)
        self.model.train_function = None

    @abc.abstractmethod
    def _scaling_loss(self, optimizer: Any) -> Any:
        """The optimizer, with the loss scaling that ``compile`` adds to it under float16."""

    def predict_on_batch(self, inputs: Any) -> Any:
        """The model's outputs for one batch, with the weights as of now."""
        return self.model.predict_on_batch(inputs)

    def compiled_loss(self) -> CompiledLoss:
        """The loss function that the model is compiled with, sample by sample."""
        return CompiledLoss(self.keras, self.model)

    # -- steps ---------------------------------------------------------------------------------------------------

    @property
    def accumulation_steps(self) -> int:
        """Number of batches that make one optimizer step."""
        return 1

    @property
    @abc.abstractmethod
    def steps_per_execution(self) -> int:
        """Number of batches between two calls of a batch hook."""

    @property
    def may_skip_steps(self) -> bool:
        """Whether a batch may pass without moving the optimizer's counter (loss scaling in Keras 3)."""
        return False

    @property
    def has_own_step(self) -> bool:
        """Whether train step or optimizer are the user's, and may make another number of updates of a batch."""
        return self.has_own_optimizer or not _is_of_library(type(self.model), "train_step")

    @property
    def has_own_optimizer(self) -> bool:
        """Whether the optimizer is applied by the user's code, which may not count."""
        optimizer = type(innermost(self.optimizer))
        return not (_is_of_library(optimizer, "apply_gradients") and _is_of_library(optimizer, "apply"))

    @property
    def optimizer(self) -> Any:
        """The one whose updates are the steps: ``model.optimizer``, but for :meth:`count_by`; None without one."""
        return getattr(self.model, self.counts_by or "optimizer", None)

    @property
    def counts_by(self) -> str | None:
        """The attribute of the model with the optimizer that :meth:`count_by` has chosen; None without one."""
        return _counting.get(self.model)

    def count_by(self, name: str) -> None:
        """Of a model with several optimizers: count the updates of the one in that attribute, and say so."""
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
        """The same of the optimizers beside ``model.optimizer``, by the attribute."""
        return {name: self._iterations_of(getattr(self.model, name)) for name in self.other_optimizers()}

    @abc.abstractmethod
    def _iterations_of(self, optimizer: Any) -> int: ...

    @abc.abstractmethod
    def record_steps(self) -> StepRecorder:
        """Let the training graph record the loss of every step."""

    @property
    def _rate_to_hand_out(self) -> Callable[[], Any] | None:
        """Of several optimizers nobody knows which one counts when the step is traced."""
        return None if self.other_optimizers() else self._rate_in_graph

    @abc.abstractmethod
    def _rate_in_graph(self) -> Any:
        """The learning rate of the step that was just taken, inside the graph."""

    @abc.abstractmethod
    def observe_gradients(self) -> GradientObserver | None:
        """Let the training graph sum up gradients when asked to; None where it cannot see those of the whole batch."""

    # -- the state of a training ---------------------------------------------------------------------------------

    def make_deterministic(self) -> None:
        """Let the backend compute the same bits every time."""
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()

    @abc.abstractmethod
    def keep_random_state(self) -> None:
        """Let dropout and the like draw from generators whose state can be saved; before the first step."""

    @abc.abstractmethod
    def optimizer_variables(self) -> Variables:
        """The optimizer's variables by name; they are made if they are not there yet."""

    def other_optimizers(self) -> list[str]:
        """The attributes of the model that hold further optimizers, as a GAN's, whose variables nobody can tell."""
        attributes = vars(self.model).items()
        return [n for n, v in attributes if hasattr(v, "apply_gradients") and v is not self.model.optimizer]

    @abc.abstractmethod
    def random_variables(self) -> Variables:
        """The states of the layers' random generators by name."""

    @abc.abstractmethod
    def global_random_variable(self, *, make: bool = False) -> Any:
        """The state of the global random generator; None if nobody has used it, and it shall not be made."""

    def metric_variables(self) -> Variables:
        """The accumulators of the running epoch by name."""
        return training_variables.metric_variables(self.model, without=self.record_steps().in_metrics)

    @abc.abstractmethod
    def model_files(self) -> TransformersFiles | KerasFiles | KerasArchive:
        """How the weights lie in a directory that stock tools open."""

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
        """The model's weights; all of them are variables."""
        return list(self.model.weights)

    @abc.abstractmethod
    def _copies(self) -> Iterable[tuple[Any, list[Any]]]:
        """Layers that compute with copies of their weights, and the copies."""

    def use_assigned_weights(self) -> None:
        """Let layers that compute with copies of their weights, as ``Normalization`` does, copy them again."""
        before = [[np.array(np.asarray(one)) for one in copies] for _, copies in self._copies()]
        for layer, _ in self._copies():
            layer.finalize_state()
        after = [[np.asarray(one) for one in copies] for _, copies in self._copies()]
        pairs = [pair for two in zip(before, after, strict=True) for pair in zip(*two, strict=True)]
        changed = not all(np.array_equal(old, new) for old, new in pairs)
        if changed:  # What was traced has the copies in it.
            trace_again(self.model)
            self.model.test_function = self.model.predict_function = None

    def snapshot(self, variables: Sequence[Any]) -> list[Any]:
        """The values of variables as of now, for :func:`numpy.asarray` on any thread; nothing waits for them."""
        return snapshot(variables)

    # -- metrics -------------------------------------------------------------------------------------------------

    def higher_is_better(self, metric: str) -> bool | None:
        """Whether more of a compiled metric is better, by the metric itself; None if there is none that says so.

        Keras 3's own metrics say it; of the others the class or the function tells, whatever the user calls them.

        Args:
            metric: Its name in the logs, without ``val_``; what stands in front of the metric's own name may be an
                output or a data set.
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
        """The metrics that the model was compiled with, as far as they are made yet."""

    def say(self, message: str) -> None:
        """Print a line as Keras prints its own: to standard output, or into the log where that is switched off."""
        print_message(self.package, message)

    # -- resuming ------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def begin_next_fit_at(self, start: Start) -> None:
        """Let the next ``fit`` that trains begin there; until then the model is as it was."""

    # -- learning rate -------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def learning_rate(self, iterations: int) -> Any:
        """The rate used by the last update, as something that :func:`to_float` turns into a float later.

        Args:
            iterations: The optimizer's counter after that update.
        """

    # -- facts for the run's config ------------------------------------------------------------------------------

    @property
    def num_replicas(self) -> int:
        """Number of replicas that train in step."""
        return self._strategy.num_replicas_in_sync if self._strategy is not None else 1

    @property
    def is_chief(self) -> bool:
        """Whether this process speaks for all workers."""
        resolver = getattr(self._strategy, "cluster_resolver", None)
        if resolver is None or resolver.task_type is None:
            return True
        if resolver.task_type == "worker" and "chief" not in resolver.cluster_spec().jobs:
            return resolver.task_id == 0
        return resolver.task_type == "chief"

    @property
    def is_multi_worker(self) -> bool:
        """Whether other processes train in step with this one."""
        resolver = getattr(self._strategy, "cluster_resolver", None)
        return resolver is not None and len(resolver.cluster_spec().as_dict().get("worker", ())) > 1

    def scope(self) -> Any:
        """Where variables of the model's distribution are made."""
        return contextlib.nullcontext() if self._strategy is None else self._strategy.scope()

    @property
    def _is_on_tpu(self) -> bool:
        import tensorflow as tf

        strategies = (tf.distribute.TPUStrategy, tf.distribute.experimental.TPUStrategy)
        return isinstance(self._strategy, strategies)

    @property
    def _strategy(self) -> Any:
        return getattr(self.model, "distribute_strategy", None)

    def _config_of(self, optimizer: Any) -> Any:
        return optimizer.get_config()

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


def innermost(optimizer: Any) -> Any:
    """The optimizer inside the one that scales the loss, if it is one that does."""
    return getattr(optimizer, "inner_optimizer", optimizer)
