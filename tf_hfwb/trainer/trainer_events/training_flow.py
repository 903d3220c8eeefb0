"""What follows a step or an epoch of a training, as the callbacks of transformers want it.

The ``Trainer`` asks its callbacks after each step and each epoch whether to write a row, to evaluate, to save and to
stop, and then does so in this order. Keras knows none of that. So here nothing but the flow decides: the callbacks that
log, evaluate and save do so when it tells them to. Where it stands in a ``fit`` is said in ``flow_callbacks.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from tf_hfwb.callbacks.row_logger import RowLogger
from tf_hfwb.errors import SettingError
from tf_hfwb.fit.evaluate_during_fit import EvaluateDuringFit
from tf_hfwb.fit.stop_after_steps import StopAfterSteps
from tf_hfwb.keras_compat import Logs
from tf_hfwb.step_policies import Earliest, EverySteps, Once, Policy
from tf_hfwb.trainer.trainer_events.callback_events import STEP_EVENTS
from tf_hfwb.trainer.trainer_events.event_dispatch import TrainerEvents
from tf_hfwb.trainer.training_plan import TrainingPlan


class Saver(Protocol):
    """What saves checkpoints when it is told to."""

    @property
    def saved_step(self) -> int:
        """The step of the newest checkpoint that was taken."""

    def save_now(self, logs: Logs) -> None:
        """Save the model as it is, unless this step is saved already."""

    def wait(self) -> None:
        """Wait until it is on disk."""

    @property
    def best_checkpoint(self) -> Any:
        """The directory of the best one."""


class Rows(Protocol):
    """What collects the rows of the training."""

    @property
    def row_step(self) -> int:
        """The step of the last row."""

    def write(self, logs: Logs) -> None:
        """Collect a row of the training as of now."""


class FlowParts(NamedTuple):
    """What a flow directs.

    Attributes:
        logger: What logs to the run; None if nothing does.
        evaluate: Evaluates the model as it is.
        evaluations: Does so as a callback of the fit; None where the arguments ask for no evaluations.
        checkpoints: What saves; None where nothing can.
        stop: What knows the last step.
    """

    logger: RowLogger | None
    evaluate: Callable[[], Mapping[str, Any]]
    evaluations: EvaluateDuringFit | None
    checkpoints: Saver | None
    stop: StopAfterSteps


class EndedStep(NamedTuple):
    """A step whose callbacks were not called yet.

    Attributes:
        step: The global step.
        epoch: The epoch, with its fraction.
        logs: What the train function returned.
    """

    step: int
    epoch: float
    logs: Logs


class TrainingFlow:
    """Calls the events of steps and epochs, and does what callbacks want.

    Args:
        events: Calls the events.
        plan: When the arguments ask for rows, evaluations and checkpoints.
        parts: What does it.

    Attributes:
        acts_each_step: Whether a callback has events of steps.
        tells_epochs_early: Whether the end of an epoch is told before Keras's callbacks get the metrics of its
            evaluation, which is then made because the epoch has ended.

    Follows ``Trainer._maybe_log_save_evaluate`` and ``DefaultFlowCallback`` of transformers.
    """

    def __init__(self, events: TrainerEvents, plan: TrainingPlan, parts: FlowParts) -> None:
        self._events, self._parts, self._args = events, parts, plan.args
        self._log_policy, self._eval_policy, self._save_policy = plan.log_policy, plan.eval_policy, plan.save_policy
        self._by_steps = plan.args.logging_strategy == "steps"
        self.acts_each_step = events.hears(*STEP_EVENTS)
        self.tells_epochs_early = plan.args.eval_strategy == "epoch"
        self._rows: Rows | None = None
        self._step = 0
        self._last_step = 0
        self._told_save = 0  # The step of the checkpoint that callbacks were told of last.
        self._accumulates = self._tells_substeps = False
        self._ended: EndedStep | None = None
        self._unsaved: Logs | None = None  # The logs of a step behind which nothing was saved yet.
        self._has_begun = False  # A step, so that the next batch belongs to it.
        self._has_ended_epoch = False

    @property
    def policy(self) -> Policy:
        """For which steps there is something to do."""
        if self.acts_each_step:
            return EverySteps(1)
        return Earliest((self._log_policy, self._eval_policy, self._save_policy, Once(self._last_step)))

    @property
    def is_amid_step(self) -> bool:
        """Whether the next batch needs no call of :meth:`begin_step`."""
        return self._has_begun and not (self._tells_substeps or self.wants_stop or self.wants_next_epoch)

    @property
    def wants_stop(self) -> bool:
        """Whether no step is to follow."""
        return self._events.control.should_training_stop

    @property
    def wants_next_epoch(self) -> bool:
        """Whether the epoch is to end with this step."""
        return self._events.control.should_epoch_stop

    def begin(self, rows: Rows, step: int, *, accumulates: bool) -> None:
        """Training begins, and everything that takes part in it is there.

        Args:
            rows: What collects rows.
            step: The global step.
            accumulates: Whether an update is made of several batches.
        """
        self._rows, self._step, self._accumulates = rows, step, accumulates
        self._tells_substeps = accumulates and self._events.hears("on_substep_end")
        self._last_step, self._told_save = self._parts.stop.last_step, step
        self._ended, self._unsaved, self._has_begun = None, None, False
        self._events.note_last_step(self._last_step)
        self._note_best_checkpoint()
        self._events.call("on_train_begin")

    # -- steps -----------------------------------------------------------------------------------------------------

    def step_ended(self, step: int, epoch: float, logs: Logs) -> None:
        """A step has ended. What follows it waits until Keras has taken over the state of the model."""
        self._ended = EndedStep(step, epoch, dict(logs))

    def begin_step(self) -> bool:
        """Another batch is about to be trained on: the checkpoint of the step before, and the begin of the next one.

        Returns:
            Whether the batch is to be trained on. As in the ``Trainer``, callbacks can end a training or an epoch
            behind a batch, but not in front of the first one.
        """
        has_trained = self._has_begun or self._unsaved is not None
        if self._has_begun and self._tells_substeps:
            self._events.call("on_substep_end")
        if self._unsaved is not None:
            self.save(self._unsaved)
        if has_trained and (self.wants_stop or self.wants_next_epoch):
            return False
        if not self._has_begun:
            self._has_begun = True
            self._events.call("on_step_begin")
        return True

    def end_step(self) -> None:
        """What follows a step, except a checkpoint."""
        if self._ended is None:
            return
        ended, self._ended, self._has_begun = self._ended, None, False
        self._unsaved = ended.logs
        self._events.call("on_optimizer_step")
        before, self._step = self._step, ended.step
        self._events.note_position(ended.step, ended.epoch)
        self._decide_after_step(before, ended.step)
        self._events.call("on_step_end")
        self._log_and_evaluate(ended.logs)

    def _decide_after_step(self, before: int, step: int) -> None:
        """What the arguments ask for, before callbacks may want something else."""
        control, args = self._events.control, self._args
        is_last = step >= self._last_step

        def is_due(policy: Policy) -> bool:
            due = policy.next_due(before)
            return due is not None and due <= step

        control.should_log |= is_due(self._log_policy) or (is_last and self._by_steps)
        control.should_evaluate |= is_due(self._eval_policy) and step >= args.eval_delay
        control.should_save |= is_due(self._save_policy) or (is_last and args.save_strategy == "steps")
        control.should_training_stop |= is_last

    # -- epochs ----------------------------------------------------------------------------------------------------

    def begin_epoch(self) -> None:
        """An epoch begins."""
        self._has_ended_epoch = False
        if not self._accumulates:  # Keras accumulates from one epoch into the next.
            self._has_begun = False
        self._events.call("on_epoch_begin")

    def end_epoch(self, step: int, epoch: float, logs: Logs) -> None:
        """What follows an epoch, except a checkpoint; done once.

        Args:
            step: The global step.
            epoch: The epoch, with its fraction.
            logs: What the training steps of the epoch report.
        """
        if self._has_ended_epoch:
            return
        self._has_ended_epoch = True
        self._step = step
        self._events.note_position(step, epoch)
        control, args = self._events.control, self._args
        control.should_log |= args.logging_strategy == "epoch"
        control.should_evaluate |= args.eval_strategy == "epoch" and epoch >= args.eval_delay
        control.should_save |= args.save_strategy == "epoch"
        self._events.call("on_epoch_end")
        self._log_and_evaluate(logs)

    # -- what callbacks may ask for --------------------------------------------------------------------------------

    def _log_and_evaluate(self, logs: Logs) -> None:
        events = self._events
        if events.control.should_log:
            self.log_row(logs)
        if events.control.should_evaluate:
            self._evaluate()
        if events.control.should_training_stop and self._by_steps:
            self.log_row(logs)  # That of the last step, which the checkpoint should hold.

    def log_row(self, logs: Logs) -> None:
        """Write a row of the training as of now, unless this step has one."""
        rows, logger = self._rows, self._parts.logger
        if rows is None or self._step <= rows.row_step:
            return
        if logger is not None and logger.tracker.active:
            logger.on_due_step_end(logs)
        rows.write(logs)
        self._events.control.should_log = False
        if self._events.hears("on_log"):
            self._events.tell_rows()

    def _evaluate(self) -> None:
        parts, events = self._parts, self._events
        best = events.state.best_metric
        if parts.evaluations is None:
            parts.evaluate()
        else:
            parts.evaluations.evaluate_now()
        if self._args.save_strategy == "best":
            events.control.should_save = events.state.best_metric != best

    def save(self, logs: Logs) -> None:
        """Save a checkpoint, if that is wanted, and tell of it.

        Args:
            logs: What is known of the model as it is.
        """
        control, checkpoints = self._events.control, self._parts.checkpoints
        if control.should_save:
            if checkpoints is None:
                raise SettingError(
                    "control.should_save",
                    True,
                    expected="False beside a WandbModelCheckpoint of one's own, which the trainer does not direct",
                    advice="Take WandbModelCheckpoint out of the callbacks.",
                )
            checkpoints.save_now(logs)
        control.should_save, self._unsaved = False, None
        self.tell_save()

    def tell_save(self) -> None:
        """Tell of a checkpoint that was taken, if that was not told yet."""
        events, checkpoints = self._events, self._parts.checkpoints
        if checkpoints is None or checkpoints.saved_step <= self._told_save:
            return
        self._told_save = checkpoints.saved_step
        self._note_best_checkpoint()
        if events.hears("on_save"):
            checkpoints.wait()
        events.call("on_save")

    def _note_best_checkpoint(self) -> None:
        if self._parts.checkpoints is not None:
            self._events.note_best_checkpoint(self._parts.checkpoints.best_checkpoint)
