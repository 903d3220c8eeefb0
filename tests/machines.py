"""What random sequences of calls have in common: a small model and its twin, the run, and what must hold at the end.

``sequences`` has those on a model, ``trainer_sequences`` those on a ``TFTrainer``.
"""

from __future__ import annotations

import contextlib
import gc
import glob
import importlib
import os
import pathlib
import shutil
import tempfile
from typing import Any

import hypothesis
import numpy as np
import pytest
import wandb
from helpers import history, samples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import TFHFWBError

BATCH_SIZE, PER_EPOCH = 4, 3
X, Y = samples(BATCH_SIZE * PER_EPOCH)


# Seeds, and the number of sequences of each: a few by default, 300 for each Keras, and 10,000 in all.
FEW = [pytest.param(0, 2, marks=pytest.mark.slow)]
MANY = [pytest.param(seed, 50, marks=pytest.mark.nightly) for seed in range(1, 4)]
HOURS = [pytest.param(seed, 50, marks=[pytest.mark.nightly, pytest.mark.hours]) for seed in range(4, 51)]


def run_sequences(machine: type[RuleBasedStateMachine], seed: int, number: int) -> None:
    """Run so many sequences, for a seed the same every time. A failing one is printed as it is.

    To have it shrunk, which takes minutes, set ``SHRINK=1``.
    """
    shrinks = [hypothesis.Phase.shrink] if os.environ.get("SHRINK") else []
    settings = hypothesis.settings(
        max_examples=number,
        stateful_step_count=8,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, *shrinks],
        report_multiple_bugs=False,
        print_blob=False,
    )
    seeded = hypothesis.seed(seed)(type(machine.__name__, (machine,), {}))
    run_state_machine_as_test(seeded, settings=settings)


class MineError(ArithmeticError):
    """A user's."""


WAYS = {"raise": MineError, "interrupt": KeyboardInterrupt, "exit": SystemExit}


def ending_callback(keras: Any, way: str, at: int, where: str):
    """A callback of the user's that ends a fit: at a call of a batch's end, 0 before the first, or at an epoch's."""

    class Ends(keras.callbacks.Callback):
        calls = 0

        def end(self):
            if way == "stop":
                self.model.stop_training = True
            elif way in WAYS:
                raise WAYS[way]("mine")

        def on_train_batch_begin(self, batch, logs=None):
            if at == 0 and where == "batch" and self.calls == 0:
                self.end()

        def on_train_batch_end(self, batch, logs=None):
            self.calls += 1
            if self.calls == at and where == "batch":
                self.end()

        def on_epoch_end(self, epoch, logs=None):
            if where == "epoch":
                self.end()

    return Ends()


def batches_done(steps_per_execution: int, begin: int, end: int, per_epoch: int = PER_EPOCH) -> list[int]:
    """The batches of a training that are done at each call of ``on_train_batch_end``."""
    done = [begin]
    while done[-1] < end:
        end_of_epoch = (done[-1] // per_epoch + 1) * per_epoch
        done.append(min(done[-1] + steps_per_execution, end_of_epoch))
    return done[1:]


def small_model(keras: Any) -> Any:
    """With dropout where Keras keeps its random state in the model, as Keras 3 does."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    dropout = [layers.Dropout(0.3)] if keras.__name__ == "keras" else []
    return keras.Sequential([layers.Input((4,)), layers.Dense(4, activation="tanh"), *dropout, layers.Dense(3)])


def model_variables(model: Any) -> list[Any]:
    """The weights, and the random state of Keras 3's dropout, which is not among them."""
    generators = [layer.seed_generator for layer in model.layers if hasattr(layer, "seed_generator")]
    return [*model.weights, *(generator.state for generator in generators)]


def assert_one_sentence(error: TFHFWBError) -> None:
    said = str(error)
    assert said, repr(error)
    assert "\n" not in said
    assert said.rstrip().endswith((".", ")")), said


def run_folders_here() -> set[str]:
    """Those in the working directory, in which the client stays."""
    return set(glob.glob("wandb/offline-run-*"))


def check_rows(folders: set[str]) -> set[int]:
    """Each step once and in order in each run, with all folders of a continued one; returns the steps of all."""
    runs: dict[str, list[int]] = {}
    for folder in sorted(folders):
        steps = [row["train/global_step"] for row in history(folder) if "train/loss" in row]
        runs.setdefault(folder.rsplit("-", 1)[1], []).extend(steps)
    for steps in runs.values():
        assert steps == sorted(set(steps)), runs
    return {step for steps in runs.values() for step in steps}


def checkpoints_in(directory: str) -> dict[int, tuple[int, int]]:
    """Of each checkpoint what tells one that was written from one that was there."""
    Store(directory).checkpoints()  # Waits for those that are being written.
    found = {}
    for path in pathlib.Path(directory).glob("checkpoint-*/manifest.json"):
        facts = path.stat()
        found[int(path.parent.name.split("-")[1])] = facts.st_ino, facts.st_mtime_ns
    return found


class Machine(RuleBasedStateMachine):
    """A model of one of the Kerases and its twin, in a run or in none, with two directories of checkpoints.

    Attributes:
        kind: Which Keras.
        ours: The model that this package trains.
        twin: The one that shows what should have come out.
        newest: The step of the last checkpoint that was written in each directory.
        promised: The steps that must have a row in the end.
    """

    kind = "keras"

    def __init__(self) -> None:
        super().__init__()
        self.keras = importlib.import_module(self.kind)
        self.stack = contextlib.ExitStack()
        self.place = self.stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        self.runs_before = run_folders_here()
        self.newest: dict[str, int | None] = dict.fromkeys([f"{self.place}/{name}" for name in "ab"])
        self.promised: set[int] = set()
        self.is_tracked = False
        self.steps_per_execution = 1
        self.ours: Any = None
        self.twin: Any = None

    @initialize(is_tracked=st.booleans(), steps_per_execution=st.sampled_from([1, 1, 2]))
    def begin(self, is_tracked, steps_per_execution):
        self.is_tracked, self.steps_per_execution = is_tracked, steps_per_execution
        before = os.environ.get("WANDB_MODE", "offline")
        os.environ["WANDB_MODE"] = "offline" if is_tracked else "disabled"
        self.stack.callback(os.environ.__setitem__, "WANDB_MODE", before)
        self.ours, self.twin = small_model(self.keras), small_model(self.keras)
        self.prepare()

    def prepare(self) -> None:
        """Make the models ready to be trained."""
        raise NotImplementedError

    def each(self):
        return self.ours, self.twin

    def reset_executions(self) -> None:
        """A fit that ends in the short execution of an epoch's end leaves tf_keras' model with short ones for ever."""
        if self.kind == "tf_keras":
            for model in self.each():
                model._steps_per_execution.assign(self.steps_per_execution)

    def written_since(self, output_dir: str, there: dict[int, tuple[int, int]]) -> list[int]:
        """The steps of the new checkpoints. All are whole, and the newest is the last that was written."""
        now = checkpoints_in(output_dir)
        fresh = sorted(step for step, facts in now.items() if there.get(step) != facts)
        listed = Store(output_dir).checkpoints()
        assert {checkpoint.step for checkpoint in listed} == now.keys()
        for checkpoint in listed:
            checkpoint.verify()
        self.newest[output_dir] = fresh[-1] if fresh else self.newest[output_dir]
        assert (listed[-1].step if listed else None) == self.newest[output_dir]
        return fresh

    # -- the run ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: wandb.run is None)
    @rule()
    def open_run(self):
        wandb.init(project="mine")

    @precondition(lambda self: wandb.run is not None)
    @rule()
    def log(self):
        wandb.log({"mine": 1})

    @precondition(lambda self: wandb.run is not None)
    @rule()
    def finish_run(self):
        wandb.finish()

    def teardown(self):
        try:
            if wandb.run is not None:
                wandb.finish()
            if self.is_tracked:
                logged = check_rows(run_folders_here() - self.runs_before)
                assert self.promised <= logged, (self.promised, logged)
        finally:
            for folder in run_folders_here() - self.runs_before:
                shutil.rmtree(folder, ignore_errors=True)
            self.stack.close()
            self.keras.backend.clear_session()
            gc.collect()


def assert_equal(left: list[np.ndarray], right: list[np.ndarray]) -> None:
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)
