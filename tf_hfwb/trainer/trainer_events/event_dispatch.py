"""Calls the events of transformers' callbacks, and keeps the ``state`` and the ``control`` that they get."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tf_hfwb.callbacks.model_checkpoint import WandbModelCheckpoint
from tf_hfwb.data.loaders import is_loader
from tf_hfwb.errors import SettingError
from tf_hfwb.evaluation.metric_values import in_json, single_number
from tf_hfwb.keras_compat import describe_value, host_of
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments, steps_of
from tf_hfwb.trainer.dataset_evaluation import with_prefix
from tf_hfwb.trainer.trainer_events.callback_events import events_of, is_trainer_callback
from tf_hfwb.trainer.training_plan import TrainingPlan

if TYPE_CHECKING:
    from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

# What transformers' CallbackHandler resets before an event.
_RESETS = {
    "on_train_begin": ("should_training_stop",),
    "on_epoch_begin": ("should_epoch_stop",),
    "on_step_begin": ("should_log", "should_evaluate", "should_save"),
    "on_log": ("should_log",),
    "on_evaluate": ("should_evaluate",),
    "on_save": ("should_save",),
}
# Before these the run gets its rows, so that what a callback logs comes behind them.
_AFTER_ROWS = frozenset({"on_log", "on_evaluate", "on_predict", "on_save", "on_epoch_end", "on_train_end"})


class Owner(Protocol):
    """The trainer. Its attributes may be set at any time."""

    args: TFTrainingArguments
    model: Any
    processing_class: Any
    callbacks: list[Any]


class TrainerEvents:
    """Calls the events of the callbacks that a trainer has, in the order of its list.

    Args:
        owner: The trainer.
        flush_rows: Hands over what was logged so far to the run.

    Attributes:
        control: What the callbacks want to happen.
        lr_scheduler: The schedule of the training.
        train_dataloader: The batches of one of its epochs.
        eval_dataloader: What is evaluated or predicted, or was last.
        pending_rows: Gives the rows of the training that are not in the history yet.
        trial_state: What the state says of the trial of a search.
        position: Gives the global step and the epoch as of now; None where :meth:`note_position` tells them.

    Follows ``CallbackHandler`` of transformers.
    """

    control: TrainerControl

    def __init__(self, owner: Owner, flush_rows: Callable[[], None]) -> None:
        from transformers.trainer_callback import TrainerControl

        self._owner = owner
        self._flush_rows = flush_rows
        self.control = TrainerControl()
        self.trial_state: dict[str, Any] = {}
        self._state = self._new_state()
        self.lr_scheduler: Any = None
        self.train_dataloader: Any = None
        self.eval_dataloader: Any = None
        self.pending_rows: Callable[[], list[dict[str, float]]] = list
        self.position: Callable[[], tuple[int, float]] | None = None

    def _new_state(self) -> TrainerState:
        from transformers.trainer_callback import ExportableState, TrainerState

        exportable = [one for one in [*self.callbacks, self.control] if isinstance(one, ExportableState)]
        is_chief = host_of(self._owner.model).is_chief
        return TrainerState(is_world_process_zero=is_chief, stateful_callbacks=exportable, **self.trial_state)

    @property
    def callbacks(self) -> list[TrainerCallback]:
        """The trainer's callbacks that are transformers'."""
        return [one for one in self._owner.callbacks if is_trainer_callback(one)]

    @property
    def state(self) -> TrainerState:
        """The state as of now, with all rows in its history."""
        if self.position is not None:
            self.note_position(*self.position())
        rows = self.pending_rows()
        self._state.log_history.extend(rows)
        for row in rows:
            self._state.num_input_tokens_seen = int(row.get("num_input_tokens_seen", self._state.num_input_tokens_seen))
        return self._state

    def hears(self, *events: str) -> bool:
        """Whether a callback overrides one of the events."""
        return any(event in events_of(callback) for callback in self.callbacks for event in events)

    @property
    def follow_training(self) -> bool:
        """Whether a callback may change the course of a training."""
        return any(set(events_of(callback)) - {"on_init_end"} for callback in self.callbacks)

    @property
    def may_want_checkpoints(self) -> bool:
        """Whether a callback may ask for a checkpoint: none of those of transformers does."""
        return any(not type(one).__module__.startswith("transformers.") for one in self.callbacks if events_of(one))

    @property
    def carries_state(self) -> bool:
        """Whether the model can be used in a training only where Keras has just begun a batch."""
        return host_of(self._owner.model).carries_state

    def call(self, event: str, **more: Any) -> None:
        """Call an event of those that override it.

        Args:
            event: Its name.
            more: What callbacks get besides what they always get.
        """
        for flag in _RESETS.get(event, ()):
            setattr(self.control, flag, False)
        listeners = [one for one in self.callbacks if event in events_of(one)]
        if not listeners:
            return
        owner = self._owner
        if event in _AFTER_ROWS:
            self._flush_rows()
        for callback in listeners:
            answer = getattr(callback, event)(
                owner.args,
                self.state,
                self.control,
                model=owner.model,
                processing_class=owner.processing_class,
                optimizer=host_of(owner.model).optimizer,
                lr_scheduler=self.lr_scheduler,
                train_dataloader=self.train_dataloader,
                eval_dataloader=self.eval_dataloader,
                **more,
            )
            if answer is not None:
                self.control = answer

    # -- rows ------------------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, Any]) -> None:
        """Add a row to the history, and tell the callbacks; adds the epoch to it, as the ``Trainer`` does."""
        state = self.state
        if state.epoch is not None:
            logs["epoch"] = state.epoch
        # The history is written as JSON, and a metric may be an array.
        state.log_history.append({**in_json(logs), "step": state.global_step})
        self.call("on_log", logs=logs)

    def tell_rows(self) -> None:
        """Tell the callbacks the rows of the training that are not in the history yet."""
        for row in self.pending_rows():
            self._state.log_history.append(row)
            self.call("on_log", logs={name: value for name, value in row.items() if name != "step"})

    # -- the state -------------------------------------------------------------------------------------------------

    def begin_training(self, plan: TrainingPlan) -> None:
        """A training begins, with a state of its own."""
        args, steps, batches = plan.args, plan.length.steps, plan.batches
        state = self._state = self._new_state()
        state.epoch = 0.0
        state.max_steps, state.num_train_epochs = steps, plan.length.epochs
        state.train_batch_size = plan.batch_size
        state.logging_steps = steps_of(args.logging_steps, steps)
        if args.eval_strategy == "steps" or args.eval_steps is not None:
            state.eval_steps = steps_of(args.eval_interval, steps)
        state.save_steps = steps_of(args.save_steps, steps)
        per_epoch = plan.length.groups.batches
        self.train_dataloader = batches.dataset
        if per_epoch is not None and not is_loader(batches.dataset):
            self.train_dataloader = batches.dataset.take(per_epoch)

    def end_training(self, metrics: dict[str, Any], callbacks: Sequence[Any]) -> None:
        """A training has ended by itself.

        Args:
            metrics: Of the whole of it; the epoch is added.
            callbacks: Those of the ``fit``.
        """
        for callback in callbacks:
            if isinstance(callback, WandbModelCheckpoint):
                self.note_best_checkpoint(callback.best_checkpoint)
        self.log(metrics)
        self.call("on_train_end")

    def note_position(self, step: int, epoch: float) -> None:
        """How far the training is."""
        self._state.global_step, self._state.epoch = step, epoch

    def note_last_step(self, step: int) -> None:
        """At which step the training ends."""
        self._state.max_steps = step

    @property
    def best_by(self) -> str | None:
        """The metric by which a model is the best, and its direction; None without one."""
        args = self._owner.args
        if args.metric_for_best_model is None:
            return None
        return f"{'highest' if args.greater_is_better else 'lowest'} {with_prefix(args.metric_for_best_model, 'eval')}"

    def note_evaluation(self, metrics: Mapping[str, Any]) -> None:
        """An evaluation within the training has ended: see whether the model is the best so far.

        Raises:
            SettingError: The metric that tells the best is no number.
        """
        args, state = self._owner.args, self._state
        if args.metric_for_best_model is None:
            return
        name = with_prefix(args.metric_for_best_model, "eval")
        if name not in metrics:  # A callback may add it later.
            return
        value = single_number(metrics[name])
        if value is None:
            raise SettingError(
                "metric_for_best_model",
                args.metric_for_best_model,
                expected=f"the name of a number; {name} is {describe_value(metrics[name])}",
                advice="Return one number for it, or name another metric.",
            )
        is_higher = self._is_higher_better(args.metric_for_best_model)
        if state.best_metric is None:
            state.best_metric = -math.inf if is_higher else math.inf
        if value > state.best_metric if is_higher else value < state.best_metric:
            state.best_metric = value
            if args.save_strategy != "no":
                state.best_global_step = state.global_step

    def _is_higher_better(self, metric: str) -> bool:
        args = self._owner.args
        known = args.stated_direction
        if known is None:
            known = host_of(self._owner.model).higher_is_better(metric.removeprefix("eval_"))
        return bool(args.greater_is_better if known is None else known)

    def note_best_checkpoint(self, path: pathlib.Path | None) -> None:
        """Which checkpoint is the best so far."""
        if path is not None:
            self._state.best_model_checkpoint = os.path.join(self._owner.args.output_dir, path.name)
