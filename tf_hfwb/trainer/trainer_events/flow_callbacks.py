"""The places of a :class:`~tf_hfwb.trainer.trainer_events.training_flow.TrainingFlow` in a ``fit`` of Keras.

* ``FlowLog`` is the first callback. It does what follows a step, except a checkpoint: that is to hold what callbacks
  behind it make of an evaluation.
* ``FlowEnd`` is the last one. It saves, and begins the next step.

Between two steps both act in front of the train function. Where a callback evaluates in the middle of the fit, which is
done when Keras has begun the next batch, ``FlowLog`` acts then, and so do both where the model can be used at no other
time.

The end of an epoch is told by ``FlowEnd``, behind the checkpoint of the last step, as the ``Trainer`` does. Where
epochs are evaluated, ``FlowLog`` tells it: Keras's callbacks need the metrics. A checkpoint that is due of the last
step is then saved after the evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf_hfwb.callbacks.model_checkpoint import WandbModelCheckpoint
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.fit.stop_after_steps import StopAfterSteps
from tf_hfwb.keras_compat import Logs
from tf_hfwb.step_policies import Never, Policy
from tf_hfwb.trainer.trainer_events.event_dispatch import TrainerEvents
from tf_hfwb.trainer.trainer_events.exported_states import ExportedStates
from tf_hfwb.trainer.trainer_events.training_flow import FlowParts, TrainingFlow
from tf_hfwb.trainer.trainer_events.training_log import TrainingLog
from tf_hfwb.trainer.training_plan import TrainingPlan


class FlowLog(TrainingLog):
    """Lets the flow do what follows each step.

    Args:
        flow: The flow.
        events: Keeps the history.
        plan: What the training is going to do.
        stop: Knows the last step.
    """

    def __init__(self, flow: TrainingFlow, events: TrainerEvents, plan: TrainingPlan, stop: StopAfterSteps) -> None:
        super().__init__(events, plan, stop)
        self._flow = flow

    @property
    def policy(self) -> Policy:
        """For which steps the flow has something to do."""
        return self._flow.policy

    @property
    def takes_regular_steps(self) -> bool:
        """Only the flow knows for which steps there are rows."""
        return False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Act in front of each execution."""
        super().on_train_begin(logs)
        self._session.hooks.before.append(self._flow.end_step)

    def on_due_step_end(self, logs: Logs) -> None:
        """Tell the flow."""
        self._flow.step_ended(self._clock.step, self._schedule.epoch_after(0), logs)

    def _end_epoch(self) -> None:
        self._flow.end_step()
        if self._flow.tells_epochs_early and self._recorder.has_run:
            self._flow.end_epoch(self._clock.step, self._schedule.epoch_after(0), self._epoch_logs)

    def _position(self) -> Callable[[], tuple[int, float]] | None:
        return None if self._flow.acts_each_step else super()._position()

    def _write_last(self) -> None:
        self._flow.log_row(self._epoch_logs)


class FlowLogAtBatches(FlowLog):
    """The same, as soon as Keras has begun the next batch."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """What follows the step before."""
        self._flow.end_step()


class FlowEnd(StepCallback):
    """Lets the flow do what follows everything else.

    Args:
        flow: The flow.
        log: The first callback of the flow.
        events: Calls the events.
    """

    place = CallbackPlace.LAST_STEP

    def __init__(self, flow: TrainingFlow, log: FlowLog, events: TrainerEvents) -> None:
        super().__init__()
        self._flow, self._log, self._events = flow, log, events

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Everything that takes part in the training is there."""
        super().on_train_begin(logs)
        self._session.participants.add(ExportedStates(self._events))
        if not self._host.carries_state:
            self._session.hooks.before.append(self._before_step)
        self._flow.begin(self._log, self._clock.step, accumulates=self._host.accumulation_steps > 1)
        if self._host.accumulation is not None and self._events.hears("on_substep_end"):
            self._host.accumulation.on_substep_end = lambda: self._events.call("on_substep_end")

    def _before_step(self) -> None:
        flow = self._flow
        if flow.is_amid_step or self._session.hooks.is_stopped or self._schedule.is_cut_short:
            return
        if flow.begin_step():
            return
        if flow.wants_stop:
            self._recorder.stop()
        else:
            self._schedule.cut_epoch_short()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Tell it, unless all steps are done already."""
        super().on_epoch_begin(epoch, logs)
        if not self._session.hooks.is_stopped:
            self._flow.begin_epoch()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save, and tell what was not told yet."""
        super().on_epoch_end(epoch, logs)
        if not self._recorder.has_run:
            return
        flow, logs = self._flow, logs or {}
        own_logs = {name: value for name, value in logs.items() if name in self._recorder.reported}
        if not flow.tells_epochs_early:
            flow.save(logs)
        flow.end_epoch(self._clock.step, self._schedule.epoch_after(0), own_logs)
        flow.save(logs)
        if flow.wants_stop:
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Tell of a checkpoint that was saved at the end."""
        super().on_train_end(logs)
        self._flow.tell_save()


class FlowEndAtBatches(FlowEnd):
    """The same, as soon as Keras has begun the next batch."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Save, and begin the next step."""
        self._before_step()


def flow_callbacks(events: TrainerEvents, plan: TrainingPlan, parts: FlowParts) -> tuple[FlowLog, FlowEnd]:
    """The first and the last callback of a flow.

    Args:
        events: Calls the events.
        plan: What the training is going to do.
        parts: What the flow directs.
    """
    flow = TrainingFlow(events, plan, parts)
    is_carried = events.carries_state
    begin = FlowLogAtBatches if is_carried or parts.evaluations is not None else FlowLog
    log = begin(flow, events, plan, parts.stop)
    return log, (FlowEndAtBatches if is_carried else FlowEnd)(flow, log, events)


class FlowCheckpoints(WandbModelCheckpoint):
    """Saves when the flow says so, and after a signal.

    Args:
        output_dir: Where checkpoints go.
        saves_last: Whether the last step is saved, if nothing else has saved it.
        options: Those of ``WandbModelCheckpoint``. With ``save_freq="no"`` the directory is not touched before a
            callback wants a checkpoint.
    """

    def __init__(self, output_dir: str, *, saves_last: bool, **options: Any) -> None:
        super().__init__(output_dir, **options)
        self._policy = Never()
        self._saves_last = saves_last
        self._may_claim = options.get("save_freq") != "no" or self._saver.artifacts.are_wanted

    @property
    def saved_step(self) -> int:
        """The step of the newest checkpoint that was taken."""
        return self._saved_step

    def save_now(self, logs: Logs) -> None:
        """Save the model as it is, unless this step is saved already."""
        self._may_claim = True
        self._claim()
        self._save(logs)

    def wait(self) -> None:
        """Wait until it is on disk."""
        self._saver.writer.flush()

    def _claim(self) -> None:
        if self._may_claim:
            super()._claim()

    def _save_last(self) -> None:
        if self._saves_last:
            super()._save_last()
