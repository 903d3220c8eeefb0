"""The methods of a trainer that subclasses may override, and that a training calls: data, optimizer, model and loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tf_hfwb.data.stream_positions import StreamPosition
from tf_hfwb.data.tf_data import length_of
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import (
    Host,
    is_causal_language_model,
    is_of_transformers,
    outputs_and_labels,
    own_loss,
    seed_everything,
)
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.trainer.constructor_checks import check_train_dataset
from tf_hfwb.trainer.optimization.created_optimizer import check_created, follow_schedule
from tf_hfwb.trainer.optimization.learning_rate_schedules import create_schedule
from tf_hfwb.trainer.optimization.optimizer_choice import create_optimizer
from tf_hfwb.trainer.overridden_methods import is_overridden
from tf_hfwb.trainer.trainer_attributes import TrainerParts
from tf_hfwb.trainer.trainer_batches import TrainingData, dataset_of_hook, named_dataset
from tf_hfwb.trainer.user_loss_function import OwnLossFunction, names_number

if TYPE_CHECKING:
    import tensorflow as tf


class ExtensionPoints(TrainerParts):
    """What a subclass of a trainer may change; each method does what the trainer does without the subclass.

    Attributes:
        model_init: Makes the model; None where it was given.
        compute_loss_func: The user's loss; None for the model's own.
        optimizer: The optimizer of the running training, or of the last one; None before that unless it was given.
        lr_scheduler: The same of the learning-rate schedule: a schedule of Keras, or a constant rate.
    """

    model_init: Callable[..., Any] | None
    compute_loss_func: Callable[..., Any] | None
    optimizer: Any
    lr_scheduler: Any
    _host: Host
    _created: tuple[Any, Any]  # The optimizer and the schedule of the last training.
    _position: Position
    _stream_start: StreamPosition | None
    _default_data: TrainingData | None

    def _overrides(self, name: str) -> bool:
        return is_overridden(self, name, ExtensionPoints)

    # -- data ------------------------------------------------------------------------------------------------------

    def get_train_tfdataset(self) -> tf.data.Dataset:
        """The batches to train on, shuffled and endless; a training that resumes begins in their middle.

        An override may map ``super().get_train_tfdataset()`` batch by batch: length of an epoch and resume stay as they
        are. Or it returns a ``tf.data.Dataset`` of batches of its own, which is then what ``train_dataset`` would be.
        """
        check_train_dataset(self.train_dataset)
        self._default_data = self._batch_factory().training(self.train_dataset, self._position, self._stream_start)
        return self._default_data.batches.dataset

    def get_eval_tfdataset(self, eval_dataset: Any = None) -> tf.data.Dataset:
        """The batches of one dataset that is evaluated, in order; an override returns such a ``tf.data.Dataset``.

        Args:
            eval_dataset: The dataset, or its name in the trainer's own; the trainer's own when None.
        """
        return self._batch_factory().prediction(named_dataset(self.eval_dataset, eval_dataset)).dataset

    def get_test_tfdataset(self, test_dataset: Any) -> tf.data.Dataset:
        """The batches of a dataset that is predicted, in order; an override returns such a ``tf.data.Dataset``."""
        return self._batch_factory().prediction(test_dataset).dataset

    def _hooked(self, name: str, *arguments: Any) -> Any:
        """What an overridden method gives, if it is batches."""
        return dataset_of_hook(name, getattr(self, name)(*arguments))

    def _training_data(self, position: Position, stream_start: StreamPosition | None) -> TrainingData:
        """The batches of a training that begins there."""
        self._position, self._stream_start, self._default_data = position, stream_start, None
        if not self._overrides("get_train_tfdataset"):
            return self._batch_factory().training(self.train_dataset, position, stream_start)
        dataset = self._hooked("get_train_tfdataset")
        default = self._default_data
        if default is not None and length_of(dataset) is length_of(default.batches.dataset):
            return replace(default, batches=replace(default.batches, dataset=dataset))
        if position and default is not None:  # It does not go through the default batches, so it begins at its start.
            self._position = Position()
            dataset = self._hooked("get_train_tfdataset")
        return self._batch_factory().training(dataset, position)

    # -- model and optimizer ---------------------------------------------------------------------------------------

    def call_model_init(self, trial: Any = None) -> Any:
        """A new model by ``model_init``, which takes no argument or one, the trial of a search.

        Raises:
            SettingError: It takes more, or returns None.
        """
        if self.model_init is None:
            raise SettingError("model_init", None, expected="a function that makes the model")
        number = number_of_arguments(self.model_init)
        if number > 1:
            raise SettingError("model_init", self.model_init, expected="a function of no argument, or of the trial")
        model = self.model_init(trial) if number else self.model_init()
        if model is None:
            raise SettingError("model_init", None, expected="a function that returns a model", advice="Return it.")
        return model

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Set ``optimizer`` and ``lr_scheduler``, unless an optimizer was given, which has its own schedule.

        In Keras an optimizer is made with its schedule. So the schedule comes first, and ``create_optimizer`` uses it;
        one that is overridden comes first, as in transformers, and ``create_scheduler`` gets its optimizer.

        Args:
            num_training_steps: Updates of the whole training.
        """
        if self.optimizer is not None:
            return
        if self._overrides("create_optimizer"):
            self.optimizer = self._set_or_returned(self.create_optimizer(), "optimizer")
            if self.optimizer is None:
                return
            schedule = self.create_scheduler(num_training_steps, self.optimizer)
            self.lr_scheduler = self._set_or_returned(schedule, "lr_scheduler")
        else:
            schedule = self.create_scheduler(num_training_steps)
            self.lr_scheduler = self._set_or_returned(schedule, "lr_scheduler")
            self.create_optimizer()

    def _set_or_returned(self, returned: Any, name: str) -> Any:
        """What a method has set, or else returned."""
        is_set = getattr(self, name)
        return returned if is_set is None else is_set

    def create_optimizer(self) -> Any:
        """Set ``optimizer`` as the arguments describe it, with ``lr_scheduler``; an override sets or returns one.

        An optimizer that was made with a constant rate follows the schedule of ``create_scheduler``, whose highest rate
        that is.
        """
        if self.optimizer is None:
            rate = self.args.learning_rate if self.lr_scheduler is None else self.lr_scheduler
            self.optimizer = create_optimizer(self._host, self.args, rate)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Set ``lr_scheduler`` as the arguments describe it; an override sets or returns a schedule of Keras.

        Args:
            num_training_steps: Updates of the whole training.
            optimizer: The optimizer that is to follow it; one with a schedule of its own keeps that. None: it is made
                later.
        """
        peak = self.args.learning_rate if optimizer is None else self._host.constant_rate(optimizer)
        if self.lr_scheduler is None and peak is not None:
            args, warmup_steps = self.args, self.args.get_warmup_steps(num_training_steps)
            options = args.schedule_options()
            self.lr_scheduler = create_schedule(
                self._host, args.lr_scheduler_type, peak, warmup_steps, num_training_steps, options
            )
        return self.lr_scheduler

    @property
    def _loss_function(self) -> OwnLossFunction | None:
        """The loss of the user; None where the model's own is used."""
        model, function = self.model, self.compute_loss_func
        if function is not None:
            return OwnLossFunction(self.compute_loss, is_mean_of_items=True)
        if not self._overrides("compute_loss"):
            return None
        # Of other models of transformers the Trainer takes the mean of the batches, and tells no number.
        divides = is_causal_language_model(model) or not is_of_transformers(model)
        return OwnLossFunction(self.compute_loss, is_mean_of_items=divides and names_number(self.compute_loss))

    def _use_given_optimizer(self) -> int:
        """Give the model the user's optimizer, if there is one; returns the batches of a step, of which it tells."""
        # Each training creates its own; what the user has set since stays.
        self.optimizer = None if self.optimizer is self._created[0] else self.optimizer
        self.lr_scheduler = None if self.lr_scheduler is self._created[1] else self.lr_scheduler
        if self.optimizer is None:
            return 1
        self._host.set_optimizer(self.optimizer)
        return self._host.accumulation_steps

    def _create_optimizer(self, total_steps: int) -> None:
        given = self.lr_scheduler
        self.create_optimizer_and_scheduler(total_steps)
        check_created(self._host, self.optimizer, self.lr_scheduler)
        follow_schedule(self._host, self.optimizer, self.lr_scheduler)
        self._created = self.optimizer, None if self.lr_scheduler is given else self.lr_scheduler
        self._host.set_optimizer(self.optimizer)

    def _make_model(self) -> Any:
        seed_everything(self.args.seed)
        return self.call_model_init(self._trial)

    # -- loss ------------------------------------------------------------------------------------------------------

    def compute_loss(
        self, model: Any, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch. An override runs within the compiled step, for training and for evaluation.

        Called without ``training``, the model trains in a step of training and does not in an evaluation. What the
        model's layers add to the loss (``add_loss``, regularizers) is added later. Sample weights are the function's to
        use.

        Args:
            model: The model.
            inputs: Inputs and labels by name; ``"inputs"`` where the model's input has no name, and ``"sample_weight"``
                where the data has weights. The dict is the function's own.
            return_outputs: Whether to return ``(loss, outputs)``.
            num_items_in_batch: How many labels of the replica's batch are not -100, as a float; 1 where none is. With
                ``gradient_accumulation_steps`` batches and replicas weigh as these numbers, so that a sum divided by
                it is divided by the items of the whole update; but not of an override with a model of transformers that
                is no causal language model, where the ``Trainer`` takes the mean of the batches.

        Returns:
            The loss, whose elements are averaged; and the model's outputs if they are asked for.

        Follows ``Trainer.compute_loss`` of transformers.
        """
        if self.compute_loss_func is None:
            loss, outputs = own_loss(model, inputs, self._host.loss_as_compiled)
        else:
            outputs, labels = outputs_and_labels(model, inputs)
            loss = self.compute_loss_func(outputs, labels, num_items_in_batch=num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def number_of_arguments(function: Callable[..., Any]) -> int:
    """How many arguments a function can be given by position; a partial one has been given some already.

    Example:
        >>> import functools
        >>> def make(trial=None, width=8): ...
        >>> number_of_arguments(make), number_of_arguments(functools.partial(make, width=4))
        (2, 1)
    """
    parameters = inspect.signature(function).parameters.values()
    return sum(one.kind not in (one.KEYWORD_ONLY, one.VAR_KEYWORD) for one in parameters)
