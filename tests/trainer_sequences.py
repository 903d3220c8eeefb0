"""Random sequences of calls of ``TFTrainer``, and the same trainings without checkpoints, runs and interruptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from machines import (
    BATCH_SIZE,
    PER_EPOCH,
    WAYS,
    Machine,
    MineError,
    X,
    Y,
    assert_equal,
    assert_one_sentence,
    batches_done,
    checkpoints_in,
    ending_callback,
    model_variables,
)

from tf_hfwb import TFTrainer, TFTrainingArguments, load_model
from tf_hfwb.errors import NotACheckpointError

STEPS = 2 * PER_EPOCH


@dataclass
class Training:
    """One from its first step to its last.

    Attributes:
        begin: The global step at its begin.
        states: What the model was at the begin and after so many batches, where Keras calls its callbacks.
    """

    begin: int
    states: dict[int, list[np.ndarray]]


def state_of(model: Any) -> list[np.ndarray]:
    return [variable.numpy() for variable in model_variables(model)]


class OnATrainer(Machine):
    """Trainers of one model."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, dict[int, Training]] = {output_dir: {} for output_dir in self.newest}
        self.step = 0
        self.bare: Any = None
        self.trainers: dict[str, Any] = {}

    def prepare(self) -> None:
        for model in self.each():
            model.compile(
                loss=self.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
                steps_per_execution=self.steps_per_execution,
            )
        self.bare = self.trainer_of(self.twin, "bare", report_to="none", save_strategy="no", logging_strategy="no")

    def trainer_of(self, model, output_dir, **options):
        args = TFTrainingArguments(
            output_dir=output_dir,
            num_train_epochs=2,
            per_device_train_batch_size=BATCH_SIZE,
            per_device_eval_batch_size=BATCH_SIZE,
            learning_rate=0.05,
            disable_tqdm=True,
            **options,
        )
        return TFTrainer(model, args, train_dataset=(X, Y), eval_dataset=(X, Y))

    def trainer(self, output_dir, is_old):
        if not (is_old and output_dir in self.trainers):
            self.trainers[output_dir] = self.trainer_of(
                self.ours, output_dir, save_strategy="steps", save_steps=2, logging_steps=1, report_to="wandb"
            )
        return self.trainers[output_dir]

    def straight(self, begin) -> Training:
        """The training from the state of now, by the twin."""
        self.make_twin_the_same()
        training, twin = Training(begin, {0: state_of(self.twin)}), self.twin
        ahead = iter(self.batches_from(0))

        class Sees(self.keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                training.states[next(ahead)] = state_of(twin)

        self.bare.callbacks = [Sees()]
        self.bare.train(resume_from_checkpoint=False)
        assert max(training.states) == STEPS
        return training

    def batches_from(self, done: int) -> list[int]:
        """The batches that are done at each call of ``on_train_batch_end``.

        The trainer's data are one stream, in which Keras 3 does not stop an execution at the end of an epoch.
        """
        per_epoch = PER_EPOCH if self.kind == "tf_keras" else STEPS
        return batches_done(self.steps_per_execution, done, STEPS, per_epoch)

    def make_twin_the_same(self) -> None:
        for to, source in zip(model_variables(self.twin), model_variables(self.ours), strict=True):
            to.assign(source.numpy())

    @rule(
        output_dir=st.sampled_from(["a", "a", "b"]),
        is_old=st.booleans(),
        resumes=st.sampled_from([None, None, True, True, False, "older"]),
        way=st.sampled_from(["", "", "stop", *WAYS]),
        at=st.integers(0, 5),
        dice=st.integers(0, 99),
    )
    def train(self, output_dir, is_old, resumes, way, at, dice):
        output_dir = f"{self.place}/{output_dir}"
        self.reset_executions()
        trainer = self.trainer(output_dir, is_old)
        saved = self.of[output_dir]
        source = resumes
        at_step = 0
        if resumes == "older":
            source = f"{output_dir}/checkpoint-{(sorted(saved) or [7])[dice % (len(saved) or 1)]}"
            if not saved:
                self.refuse(trainer, source)
                return
            at_step = sorted(saved)[dice % len(saved)]
        elif resumes is True and saved:
            at_step = self.newest[output_dir]
        training = saved[at_step] if at_step else self.straight(0 if resumes is False else self.step)
        step = at_step or training.begin
        there = checkpoints_in(output_dir)
        last = training.begin + STEPS
        trainer.callbacks = [ending_callback(self.keras, way, at, "batch")]
        raised, output = None, None
        try:
            output = trainer.train(resume_from_checkpoint=source)
        except (MineError, KeyboardInterrupt, SystemExit) as error:
            raised = error
        ahead = [step - training.begin, *self.batches_from(step - training.begin)]
        calls = max(at, 1) if way == "stop" else at  # Keras looks after the batch.
        is_ended = bool(way) and step < last and calls < len(ahead)
        reached = training.begin + (ahead[calls] if is_ended else STEPS)
        if is_ended and way in WAYS:
            assert type(raised) is WAYS[way]
        else:
            assert raised is None
            assert output.global_step == reached, (output.global_step, reached)
        self.same(training.states[reached - training.begin])
        self.step = reached
        self.see_checkpoints(output_dir, there, training)

    def same(self, state):
        assert_equal(state_of(self.ours), state)

    def refuse(self, trainer, source):
        before = state_of(self.ours)
        try:
            trainer.train(resume_from_checkpoint=source)
        except NotACheckpointError as error:
            assert_one_sentence(error)
        else:
            raise AssertionError(f"went on from {source}")
        self.same(before)

    def see_checkpoints(self, output_dir, there, training):
        for step in self.written_since(output_dir, there):
            assert step > training.begin
            assert step - training.begin in training.states
            self.of[output_dir][step] = training

    @precondition(lambda self: self.trainers)
    @rule(dice=st.integers(0, 1))
    def look(self, dice):
        trainer = list(self.trainers.values())[dice % len(self.trainers)]
        self.make_twin_the_same()
        ours, bare = trainer.evaluate(), self.bare.evaluate()
        for name in ("eval_loss", "eval_accuracy"):
            assert ours[name] == bare[name]
        np.testing.assert_array_equal(trainer.predict((X, Y)).predictions, self.bare.predict((X, Y)).predictions)
        self.same(state_of(self.twin))

    @precondition(lambda self: self.trainers)
    @rule()
    def save_model(self):
        next(iter(self.trainers.values())).save_model(f"{self.place}/saved")
        assert_equal(load_model(f"{self.place}/saved").get_weights(), self.ours.get_weights())

    @rule(factor=st.sampled_from([0.5, -1.0]))
    def set_weights(self, factor):
        self.ours.set_weights([factor * values for values in self.ours.get_weights()])


class OnATfKerasTrainer(OnATrainer):
    kind = "tf_keras"


class OnAKerasTrainer(OnATrainer):
    kind = "keras"
