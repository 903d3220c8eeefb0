"""What the groups of a trainer's methods share: its model, its arguments, its data, and the batches of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.trainer_batches import BatchFactory
from tf_hfwb.trainer.trainer_events.event_dispatch import TrainerEvents
from tf_hfwb.trainer.trainer_reporting import RunOfTrial, TrainerReporting
from tf_hfwb.trainer.training_plan import TrainingPlan


class TrainerParts:
    """The attributes of a trainer that several groups of its methods use.

    Attributes:
        model: The model.
        args: What to do.
        train_dataset: What to train on.
        eval_dataset: What to evaluate.
        processing_class: The tokenizer or processor; None without one.
        data_collator: Makes a batch of a list of samples; None for the package's own pipelines.
        callbacks: The user's callbacks, of transformers and of Keras.
    """

    model: Any
    args: TFTrainingArguments
    train_dataset: Any
    eval_dataset: Any
    processing_class: Any
    data_collator: Any
    callbacks: list[Any]
    _events: TrainerEvents
    _reporting: TrainerReporting
    _running: TrainingPlan | None = None  # The training that is under way.
    # Of a search, while a trial is trained.
    _trial: Any = None  # The backend's own object for it.
    _run_of_trial: RunOfTrial | None = None
    _hear_evaluation: Callable[[int, Mapping[str, Any]], None] | None = None  # The step and the metrics.
    _warned: set[str]  # Datasets of which the user was told that arguments have no effect.

    def _batch_factory(self) -> BatchFactory:
        """Made anew each time, since its parts may have been set since."""
        return BatchFactory(self.model, self.args, self.processing_class, self.data_collator, self._warned)
