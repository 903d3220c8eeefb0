"""A user's loss as a function of the model and a batch: how it is called, and where it is put into a model.

Both Kerases compute the outputs first and the loss from them. A function that calls the model itself therefore needs a
step of its own. It is put into the one model, as ``train_step`` and ``test_step``, and stays until it is taken away;
what is compiled into the model and saved with it does not change.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat.batch_structure import as_one_dict, split_batch
from tf_hfwb.keras_compat.common_private import compile_arguments
from tf_hfwb.keras_compat.loss_functions.training_mode import TrainingMode
from tf_hfwb.keras_compat.tensorflow_private import keep_type
from tf_hfwb.keras_compat.transformers_models import is_of_transformers


class LossFunction(Protocol):
    """A user's loss."""

    @property
    def is_mean_of_items(self) -> bool:
        """Whether the loss of a batch is a sum over items, divided by their number."""

    def count_items(self, batch: dict[str, Any]) -> Any:
        """The number of these items, as a float; None where the batch does not tell.

        Args:
            batch: As for a call.
        """

    def __call__(self, model: Any, batch: dict[str, Any], *, return_outputs: bool) -> Any:
        """The loss of a batch, and the model's outputs beside it where they are asked for.

        Args:
            model: The model. Called without ``training``, it is in the mode of the step.
            batch: Inputs and labels by name; the function may change the dict.
            return_outputs: Whether to return ``(loss, outputs)``.
        """


@dataclass(frozen=True)
class LossOfBatch:
    """What a user's loss gave for a batch.

    Attributes:
        loss: The loss, without what the model's layers add to it; its elements are averaged.
        outputs: The model's outputs; None where they were not asked for.
        inputs: The inputs of the batch.
        labels: Its labels; None without any.
        weights: Its sample weights; None without any.
    """

    loss: Any
    outputs: Any
    inputs: Any
    labels: Any
    weights: Any


class LossStep(abc.ABC):
    """The steps of one model with such a function.

    Args:
        model: A compiled model.
        function: The function.
    """

    def __init__(self, model: Any, function: LossFunction) -> None:
        self.function = function
        self._mode = TrainingMode()
        self._model = model
        self._compiled = compile_arguments(model)
        self._has_metrics = self._has_compiled_metrics()

    @abc.abstractmethod
    def _has_compiled_metrics(self) -> bool:
        """Whether metrics were compiled into the model, which need the outputs of a training step."""

    @property
    @abc.abstractmethod
    def methods(self) -> dict[str, Callable[..., Any]]:
        """What replaces the model's methods, by their names."""

    def is_for(self, function: LossFunction | None) -> bool:
        """Whether it is a step with that function, and the model was not compiled again."""
        return function == self.function and compile_arguments(self._model) is self._compiled

    def put_in(self) -> None:
        """Let the model use these steps."""
        for name, step in self.methods.items():
            _set(self._model, name, step)
        _set(self._model, _PLACE, self)
        self._forget_traced_steps()

    def take_out(self) -> None:
        """Let the model use its own again."""
        for name in (*self.methods, _PLACE):
            object.__delattr__(self._model, name)
        self._forget_traced_steps()

    def _forget_traced_steps(self) -> None:
        self._model.train_function = self._model.test_function = None

    def count_items(self, data: Any) -> Any:
        """The items of a batch over which the function takes the mean: samples, where there is no number of others.

        Args:
            data: As for :meth:`loss_of_batch`.
        """
        inputs, labels, weights = split_batch(self._model, data)
        number = self.function.count_items(as_one_dict(self._model, inputs, labels, weights))
        return self._count_samples(inputs) if number is None else number

    @abc.abstractmethod
    def _count_samples(self, inputs: Any) -> Any:
        """The samples of a batch, as a float."""

    def loss_of_batch(self, data: Any, *, training: bool, needs_outputs: bool | None = None) -> LossOfBatch:
        """Call the function.

        Args:
            data: A batch, as ``fit`` gives it to a step.
            training: Whether the model trains.
            needs_outputs: Whether to ask for the outputs; if metrics were compiled into the model when None.

        Raises:
            SettingError: The function returned no loss, or no outputs.
        """
        model, needs_outputs = self._model, self._has_metrics if needs_outputs is None else needs_outputs
        inputs, labels, weights = split_batch(model, data)
        with self._mode.set_to(training):
            result = self.function(model, as_one_dict(model, inputs, labels, weights), return_outputs=needs_outputs)
        loss, outputs = _loss_and_outputs(result, needs_outputs)
        if is_of_transformers(model) and isinstance(outputs, tuple):
            outputs = outputs[1:]  # As the Trainer of transformers takes them: a tuple begins with the loss.
        return LossOfBatch(loss, outputs, inputs, labels, weights)


_PLACE = "tf_hfwb_loss_step"  # On the model, and so gone with it: the function may hold the model.


def loss_step_of(model: Any) -> LossStep | None:
    """The steps that were put into the model; None without any."""
    return getattr(model, _PLACE, None)


def replace_loss(model: Any, function: LossFunction | None, make_step: Callable[[LossFunction], LossStep]) -> None:
    """Let a compiled model compute its loss by a function, or by itself when None.

    Args:
        model: The model.
        function: The function.
        make_step: Makes the steps of the model's Keras.
    """
    step = loss_step_of(model)
    if step is not None and not step.is_for(function):
        step.take_out()
        step = None
    if function is not None and step is None:
        make_step(function).put_in()


def _set(model: Any, name: str, value: Any) -> None:
    object.__setattr__(model, name, value)  # Keras would track what is set the usual way.


def _loss_and_outputs(result: Any, needs_outputs: bool) -> tuple[Any, Any]:
    is_pair = isinstance(result, tuple) and len(result) == 2
    if needs_outputs and not is_pair:
        raise keep_type(
            SettingError(
                "compute_loss(model, inputs, return_outputs=True)",
                type(result).__name__,
                expected="a pair (loss, outputs): an evaluation and compiled metrics need the model's outputs",
                advice="End it with: return (loss, outputs) if return_outputs else loss.",
            )
        )
    loss, outputs = result if is_pair else (result, None)
    if loss is None:
        raise keep_type(
            SettingError(
                "compute_loss(model, inputs)", None, expected="the loss as a tensor", advice="Return it at its end."
            )
        )
    return loss, outputs
