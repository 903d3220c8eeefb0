"""One fit of one model: the object that its callbacks share."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from tf_hfwb.fit.added_files import AddedFiles
from tf_hfwb.fit.between_fits import ModelMemory, memory_of
from tf_hfwb.fit.checkpoint_uploader import CheckpointUploader
from tf_hfwb.fit.metric_direction import MetricDirections
from tf_hfwb.fit.shared_evaluations import SharedEvaluations
from tf_hfwb.fit.step_clock import StepClock, step_reached
from tf_hfwb.fit.step_schedule import StepSchedule
from tf_hfwb.fit.training_end import TrainingEnd
from tf_hfwb.fit.wandb_run import FitRun
from tf_hfwb.keras_compat import (
    ExecutionHooks,
    Host,
    StepRecorder,
    call_before_finalizing,
    fit_arguments,
    host_of,
)
from tf_hfwb.resume.checkpoint_participants import Participants
from tf_hfwb.resume.resume_position import Position, Resumption, resumption_of
from tf_hfwb.tracking.run_identity import is_under_way


class Member(Protocol):
    """A callback of a fit."""

    def on_train_interrupted(self) -> None:
        """An exception has ended the fit."""


class FitSession:
    """What the callbacks of one fit share, whatever their order.

    It is there as soon as Keras has told the first callback the parameters of the fit. :meth:`begin` gives it what
    needs a model that is about to train.

    Args:
        model: The model.
        params: What Keras tells every callback of the fit: one dict, which is no other fit's.
        memory: What is remembered of the model.

    Attributes:
        params: The same.
        run: The W&B run of the fit.
        evaluations: What callbacks that evaluate have found.
        directions: Which way metrics are better.
        end: What happens to the model at the end.
        leaves_out_losses: Whether losses that are not finite are left out of means.
        needed_steps: The steps whose checkpoints callbacks want to find again, by the participant's name.
        uploaders: Who uploads checkpoints to other places than W&B.
        added_files: What a user's function adds to checkpoints; None where nothing does.
        count_tokens: From a number of batches of this fit to the tokens that the training has seen then, on any thread;
            None where nobody counts them.
        has_saver: Whether a callback that saves has begun already. One that begins behind it has not done its work yet
            when the end of an epoch is saved.

    After :meth:`begin`:

    Attributes:
        host: The model, seen through its Keras.
        recorder: The losses and batches that the model was trained on.
        hooks: What is called around the executions of the train function.
        resumption: The training that the fit resumes; None if it does not resume any.
        participants: Those whose state is in each checkpoint.
        clock: The global step.
        schedule: When callbacks are called.
    """

    host: Host
    recorder: StepRecorder
    hooks: ExecutionHooks
    resumption: Resumption | None
    participants: Participants
    clock: StepClock
    schedule: StepSchedule

    def __init__(self, model: Any, params: dict[str, Any], memory: ModelMemory) -> None:
        self.params = params
        self.run = FitRun(params)
        self.evaluations = SharedEvaluations()
        self.directions = MetricDirections()
        self.end = TrainingEnd()
        self.leaves_out_losses = False
        self.needed_steps: dict[str, int] = {}
        self.uploaders: list[CheckpointUploader] = []
        self.added_files: AddedFiles | None = None
        self.count_tokens: Callable[[int], int] | None = None
        self.has_saver = False
        self._model = model
        self._memory = memory
        self._initial_step = 0
        self._members: list[Member] = []
        self._optimizer: Any = None
        self._give_up_saving: Callable[[], None] = lambda: None
        self._is_under_way = False
        self._has_begun = False

    def expect_step(self, step: int) -> None:
        """A callback was told the global step at which training starts; the highest of them counts."""
        self._initial_step = max(self._initial_step, step)

    def tokens_after(self, batches: int) -> int | None:
        """The tokens that the training has seen after a number of batches of this fit; None where nobody counts them.

        The callback that counts them may begin after the one that asks.
        """
        return None if self.count_tokens is None else self.count_tokens(batches)

    def begin(self) -> None:
        """Training begins; called by each callback, and done once."""
        if self._has_begun:
            return
        self._has_begun = self._is_under_way = True
        host = self.host = host_of(self._model)
        is_own_loop = not fit_arguments(self._model)
        if is_own_loop:
            self._model.make_train_function()  # As fit does before its callbacks begin.
        self.recorder = host.record_steps()
        if is_own_loop:
            self.recorder.begin_hooks(is_own_loop=True)
        self.hooks = self.recorder.hooks
        self._optimizer = host.optimizer
        self.resumption = resumption_of(self._model)
        if self.resumption is None:
            self.participants, position, resumed_step = Participants({}), Position(), None
        else:
            position = self.resumption.position
            self.participants, resumed_step = self.resumption.participants, position.step
        self.clock = StepClock(host, self.recorder, step_reached(host, self._initial_step, resumed_step))
        self.schedule = StepSchedule(host, self.recorder, self.clock, self.params.get("steps"), position)
        if host.is_multi_worker:
            self._compare_workers(position)
        self.hooks.after.append(self.schedule.execution_ended)
        self.hooks.when_abandoned.append(self.interrupt)
        self._give_up_saving = call_before_finalizing(self._optimizer, self.end.save)

    def _compare_workers(self, position: Position) -> None:
        host = self.host
        facts = {"steps per epoch": self.params.get("steps"), "epochs": self.params.get("epochs")}
        before = {"steps before": self.clock.step, "batches before": position.batches}
        host.compare_workers({**host.identity(), **facts, **before})

    def join(self, member: Member) -> None:
        """Tell the callback when an exception ends the fit."""
        self._members.append(member)

    def finish(self) -> None:
        """Training has ended, by itself; called by each callback, and done once."""
        if self._is_under_way:
            self._memory.remember(self._optimizer, self.clock.step, self.clock.iterations)
            self._leave()

    def interrupt(self) -> None:
        """An exception has ended the fit: tell all callbacks, which Keras does not."""
        if not self._is_under_way:
            return
        self._memory.remember(self._optimizer, self.schedule.step_now(), self.schedule.counter_now())
        self._leave()
        for member in self._members:
            with contextlib.suppress(Exception):  # It would hide the one that has ended the fit.
                member.on_train_interrupted()

    def _leave(self) -> None:
        self._is_under_way = self.hooks.is_own_loop = False
        self._give_up_saving()
        self.hooks.after.remove(self.schedule.execution_ended)
        self.hooks.when_abandoned.remove(self.interrupt)


def session_of(callback: Any) -> FitSession:
    """The session of the fit whose parameters Keras has told the callback. The callback must hold it."""
    newest = running_session(callback.model)
    if newest is not None and newest.params is callback.params:
        return newest
    memory = memory_of(callback.model)
    session = FitSession(callback.model, callback.params, memory)
    memory.session = weakref.ref(session)
    return session


def running_session(model: Any) -> FitSession | None:
    """The newest session of a model, as long as a callback of its fit is there."""
    memory = memory_of(model)
    return None if memory.session is None else memory.session()


def interrupt_abandoned(model: Any) -> None:
    """An exception may have ended the model's newest fit, of which nobody has told its callbacks yet."""
    newest = running_session(model)
    if newest is not None and not is_under_way(model):
        newest.interrupt()


def forget_steps(model: Any) -> None:
    """Let the model's next fit count from 0, whatever it was trained on before."""
    interrupt_abandoned(model)
    memory_of(model).start_over()
