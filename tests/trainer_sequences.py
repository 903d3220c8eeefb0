"""Random sequences of calls of ``TFTrainer``, and the same trainings without checkpoints, runs and interruptions."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import wandb
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from sequences import (
    BATCH_SIZE,
    WAYS,
    MineError,
    X,
    Y,
    assert_one_sentence,
    check_rows,
    checkpoints_in,
    ends,
    run_folders_here,
    small_model,
)

from tf_hfwb import TFTrainer, TFTrainingArguments, load_model
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import NotACheckpointError

STEPS = 6  # Of two epochs.
OF_TIME = ("runtime", "per_second")


@dataclass
class Training:
    """One from its first step to its last.

    Attributes:
        begin: The global step at its begin.
        weights: Those before each step and after the last.
    """

    begin: int
    weights: list[list[np.ndarray]]


class OnATrainer(RuleBasedStateMachine):
    """Trainers of one model, of one of the Kerases."""

    kind = "keras"

    def __init__(self) -> None:
        super().__init__()
        self.keras = importlib.import_module(self.kind)
        self.stack = contextlib.ExitStack()
        self.place = self.stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        self.runs_before = run_folders_here()
        self.of: dict[str, dict[int, Training]] = {f"{self.place}/{name}": {} for name in "ab"}
        self.newest: dict[str, int | None] = dict.fromkeys(self.of)
        self.step = 0

    @initialize(is_tracked=st.booleans())
    def make(self, is_tracked):
        self.is_tracked = is_tracked
        before = os.environ.get("WANDB_MODE", "offline")
        os.environ["WANDB_MODE"] = "offline" if is_tracked else "disabled"
        self.stack.callback(os.environ.__setitem__, "WANDB_MODE", before)
        self.model, self.twin = self.compiled(), self.compiled()
        self.bare = self.trainer_of(self.twin, "bare", report_to="none", save_strategy="no", logging_strategy="no")
        self.trainers: dict[str, Any] = {}

    def compiled(self):
        model = small_model(self.keras)
        model.compile(loss=self.keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        return model

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
                self.model, output_dir, save_strategy="steps", save_steps=2, logging_steps=1, report_to="wandb"
            )
        return self.trainers[output_dir]

    def straight(self, begin) -> Training:
        """The training from the weights of now, by the twin."""
        self.twin.set_weights(self.model.get_weights())
        training, twin = Training(begin, [self.twin.get_weights()]), self.twin

        class Sees(self.keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                training.weights.append(twin.get_weights())

        self.bare.callbacks = [Sees()]
        self.bare.train(resume_from_checkpoint=False)
        assert len(training.weights) == STEPS + 1
        return training

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
        trainer.callbacks = [ends(self.keras, way, at, "batch")]
        raised, output = None, None
        try:
            output = trainer.train(resume_from_checkpoint=source)
        except (MineError, KeyboardInterrupt, SystemExit) as error:
            raised = error
        reached = min(last, step + at) if way and step < last else last
        if way == "stop" and at == 0:
            reached = min(last, step + 1)  # Keras looks after the batch.
        if way in WAYS and step < last and step + at <= last:
            assert type(raised) is WAYS[way]
        else:
            assert raised is None
            assert output.global_step == reached, (output.global_step, reached)
        self.same(training.weights[reached - training.begin])
        self.step = reached
        self.see_checkpoints(output_dir, there, training)

    def same(self, weights):
        for one, other in zip(self.model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(one, other)

    def refuse(self, trainer, source):
        before = self.model.get_weights()
        try:
            trainer.train(resume_from_checkpoint=source)
        except NotACheckpointError as error:
            assert_one_sentence(error)
        else:
            raise AssertionError(f"went on from {source}")
        self.same(before)

    def see_checkpoints(self, output_dir, there, training):
        now = checkpoints_in(output_dir)
        fresh = sorted(step for step, facts in now.items() if there.get(step) != facts)
        for step in fresh:
            assert 0 < step - training.begin <= STEPS
            self.of[output_dir][step] = training
        listed = Store(output_dir).checkpoints()
        assert {checkpoint.step for checkpoint in listed} == now.keys()
        for checkpoint in listed:
            checkpoint.verify()
        self.newest[output_dir] = fresh[-1] if fresh else self.newest[output_dir]
        assert (listed[-1].step if listed else None) == self.newest[output_dir]

    @precondition(lambda self: self.trainers)
    @rule(dice=st.integers(0, 1))
    def look(self, dice):
        trainer = list(self.trainers.values())[dice % len(self.trainers)]
        self.twin.set_weights(self.model.get_weights())
        ours, bare = trainer.evaluate(), self.bare.evaluate()
        for name in ("eval_loss", "eval_accuracy"):
            assert ours[name] == bare[name]
        np.testing.assert_array_equal(trainer.predict((X, Y)).predictions, self.bare.predict((X, Y)).predictions)
        self.same(self.twin.get_weights())

    @precondition(lambda self: self.trainers)
    @rule()
    def save_model(self):
        next(iter(self.trainers.values())).save_model(f"{self.place}/saved")
        for one, other in zip(load_model(f"{self.place}/saved").get_weights(), self.model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

    @rule(factor=st.sampled_from([0.5, -1.0]))
    def set_weights(self, factor):
        self.model.set_weights([factor * values for values in self.model.get_weights()])

    @precondition(lambda self: wandb.run is None)
    @rule()
    def open_run(self):
        wandb.init(project="mine")

    @precondition(lambda self: wandb.run is not None)
    @rule()
    def finish_run(self):
        wandb.finish()

    def teardown(self):
        try:
            if wandb.run is not None:
                wandb.finish()
            if hasattr(self, "is_tracked") and self.is_tracked:
                check_rows(run_folders_here() - self.runs_before)
        finally:
            for folder in run_folders_here() - self.runs_before:
                shutil.rmtree(folder, ignore_errors=True)
            self.stack.close()
            self.keras.backend.clear_session()
            gc.collect()


class OnATfKerasTrainer(OnATrainer):
    kind = "tf_keras"


class OnAKerasTrainer(OnATrainer):
    kind = "keras"
