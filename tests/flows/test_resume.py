"""Trainings that are interrupted, killed and damaged, and go on: bit for bit what they would have been."""

from __future__ import annotations

import pathlib
import random
import shutil
import signal
import sys
import time

import pytest
from forking import Launcher
from helpers import nightly, python

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from trainings import RESUMABLE, Trainings, logged, printed

from tf_hfwb.checkpoint.store import Store

pytestmark = pytest.mark.slow


# -- interrupted between two steps -------------------------------------------------------------------------------------


# There are 7 batches in an epoch, and 3 epochs. A checkpoint at each 4th step, a row at each 3rd.
INTERRUPTED = [
    nightly("bert", [10]),  # As the command itself, below.
    nightly("bert --mixed", [17]),
    nightly("gpt2 --steps_per_execution=3", [10]),
    nightly("t5", [16]),
    nightly("t5", [18]),
    nightly("vit --steps_per_execution=2 --validate", [3]),
    nightly("keras3", [5]),
    nightly("keras3", [2, 20]),
    nightly("keras3 --validate", [14]),
    nightly("keras3 --mixed", [16]),
    nightly("keras3 --steps_per_execution=2", [17]),
    nightly("keras3 --steps_per_execution=3", [7]),
    nightly("keras3 --steps_per_execution=3 --validate", [10]),
    nightly("keras3 --accumulate=2", [2, 5]),
    nightly("keras3 --accumulate=2 --steps_per_execution=2", [8]),
]


@pytest.mark.parametrize(("arguments", "steps"), INTERRUPTED)
def test_bit_for_bit(trainings, tmp_path, arguments, steps):
    arguments = arguments.split()
    for step in steps:
        trainings.run(tmp_path, *arguments, f"--stop_at={step}", status=143)
    trainings.check(tmp_path, trainings.run(tmp_path, *arguments), *arguments)


@pytest.mark.nightly
def test_interrupted_by_ctrl_c(trainings, tmp_path):
    trainings.run(tmp_path, "keras3", "--stop_at=6", f"--signal={signal.SIGINT:d}", status=130)
    trainings.check(tmp_path, trainings.run(tmp_path, "keras3"), "keras3")


@pytest.mark.nightly
def test_the_command_itself(trainings, tmp_path, monkeypatch):
    """Not forked: nothing may depend on the order of a set, which is another one in each process."""
    trainings.run(tmp_path, "bert", "--stop_at=10", status=143)
    monkeypatch.chdir(tmp_path)
    trainings.check(tmp_path, python(RESUMABLE, "bert", "out"), "bert")


@pytest.mark.nightly
def test_on_jax(tmp_path, monkeypatch):
    pytest.importorskip("jax")
    with Launcher(KERAS_BACKEND="jax") as launcher:
        trainings = Trainings(launcher, tmp_path)
        directory = tmp_path / "stopped"
        trainings.run(directory, "keras3", "--validate", "--stop_at=10", status=143)
        trainings.check(directory, trainings.run(directory, "keras3", "--validate"), "keras3", "--validate")


# -- a signal at an awkward moment -------------------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.parametrize(
    "moment",
    [
        "evaluation --stop_at=2",
        nightly("epoch_begin --stop_at=2"),
        nightly("epoch_end --stop_at=1 --stop_before_saving"),
        nightly("epoch_end --stop_at=2"),
        nightly("epoch_end --stop_at=3"),  # There is nothing left to train.
    ],
)
def test_a_signal_between_epochs(trainings, tmp_path, moment):
    arguments = ["keras3", "--validate"]
    stopped = trainings.run(tmp_path, *arguments, *f"--stop_when={moment}".split(), status=143)
    assert time.monotonic() - printed(stopped)["signal"] < 30
    ended = trainings.run(tmp_path, *arguments)
    result, rows = trainings.straight(*arguments)
    assert printed(ended) == (result if "3" not in moment else {**result, "logs": {}})
    assert logged(tmp_path) == rows


@pytest.mark.nightly
def test_a_second_signal_ends_the_process_at_once(trainings, tmp_path):
    training = trainings.start(tmp_path, "keras3", "--pause=20")
    training.wait_for("step 1\n")
    training.kill(signal.SIGTERM)
    training.wait_for("A second signal exits at once.")
    began = time.monotonic()
    training.kill(signal.SIGTERM)
    assert training.wait().returncode == -signal.SIGTERM
    assert time.monotonic() - began < 5
    assert trainings.run(tmp_path, "keras3").returncode == 0


HANDLERS = """
import os, signal, sys, time
import keras, numpy as np
from tf_hfwb import WandbModelCheckpoint

class Broken(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise ArithmeticError

def fit(*callbacks):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.zeros((4, 2)), np.zeros((4, 1)), verbose=0, callbacks=[WandbModelCheckpoint("out"), *callbacks])

def handlers():
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

mine = lambda number, frame: print("mine", flush=True)
for term, interrupt in ((signal.SIG_DFL, signal.default_int_handler), (mine, signal.SIG_IGN)):
    signal.signal(signal.SIGTERM, term)
    signal.signal(signal.SIGINT, interrupt)
    fit()
    assert handlers() == [term, interrupt]

def train():
    try:
        fit(Broken())
    except ArithmeticError:
        print("broken", flush=True)

train()
os.kill(os.getpid(), signal.SIGTERM)  # Prints "mine".
os.kill(os.getpid(), signal.SIGINT)  # Is ignored.
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
train()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt:
    print("interrupted", flush=True)
train()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(10)
print("still here")
"""


@pytest.mark.nightly
def test_the_handlers_of_before_are_given_back():
    ended = python("-c", HANDLERS, check=False)
    assert ended.stdout.split() == ["broken", "mine", "broken", "interrupted", "broken"], ended.stderr
    assert ended.returncode == -signal.SIGTERM


# -- killed at random moments ------------------------------------------------------------------------------------------

KILLED = ["keras3", "--validate", "--epochs=30", "--save_freq=2"]


@pytest.mark.nightly
@pytest.mark.parametrize(("seed", "kills"), [(1, 4), nightly(1, 8), nightly(2, 8), nightly(3, 8)])
def test_killed_again_and_again(trainings, tmp_path, seed, kills):
    dice = random.Random(seed)
    store = Store(tmp_path / "out")
    newest, advances, runs = 0, 0, 1
    for number in range(kills):
        training = trainings.start(tmp_path, *KILLED, "--pause=0.03")
        if number % 4 < 3:
            training.wait_for(f"step {newest + dice.randint(1, 24)}\n")  # As fast as the machine is.
            time.sleep(dice.uniform(0, 0.1))
        else:
            time.sleep(dice.uniform(0, 3))
        training.kill(signal.SIGKILL)
        ended = training.wait()
        assert ended.returncode == -signal.SIGKILL
        steps = [int(line.split()[1]) for line in ended.stdout.splitlines() if line.startswith("step ")]
        assert steps == list(range(newest + 1, newest + 1 + len(steps))), "it has not gone on where it should"
        found, rejected = store.newest_good()
        assert rejected == []
        # What was handed over: the last one waits, the one before is being written.
        begun = [newest, newest, *(step for step in steps if step % 2 == 0 and step < steps[-1])]
        assert (found.step if found else 0) >= begun[-3 if len(begun) > 2 else 0], (begun, found)
        advances += bool(found) and found.step > newest
        newest = found.step if found else 0
        runs += not newest
    assert advances >= kills // 2 - 1  # Each time that seven steps were made, with these seeds.
    trainings.check(tmp_path, trainings.run(tmp_path, *KILLED), *KILLED, runs=runs)


@pytest.mark.nightly
def test_rows_that_the_client_had_not_written_when_it_was_killed(trainings, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL", "60")
        training = trainings.start(tmp_path, "keras3", "--pause=0.1")
        training.wait_for("step 13\n")
        while not (tmp_path / "out/checkpoint-12").exists():
            time.sleep(0.01)
        training.kill(signal.SIGKILL)
        assert training.wait().returncode == -signal.SIGKILL
    assert logged(tmp_path) == {}
    trainings.check(tmp_path, trainings.run(tmp_path, "keras3"), "keras3")


# -- damaged checkpoints -----------------------------------------------------------------------------------------------


def flip_a_bit(checkpoint: pathlib.Path) -> str:
    file = checkpoint / "training_state.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return file.name


def truncate(checkpoint: pathlib.Path) -> str:
    file = checkpoint / "model.keras"
    file.write_bytes(file.read_bytes()[:-100])
    return file.name


def empty_the_manifest(checkpoint: pathlib.Path) -> str:
    (checkpoint / "manifest.json").write_bytes(b"")
    return "manifest.json"


@pytest.fixture(scope="module")
def stopped(trainings, tmp_path_factory):
    """A training that has made checkpoints at 4, 8, 12 and 14 steps."""
    made = []

    def make(directory: pathlib.Path) -> pathlib.Path:
        if not made:
            made.append(tmp_path_factory.mktemp("stopped") / "training")
            trainings.run(made[0], "keras3", "--stop_at=14", status=143)
        return shutil.copytree(made[0], directory)

    return make


@pytest.mark.nightly
@pytest.mark.parametrize("damage", [flip_a_bit, truncate, empty_the_manifest])
def test_a_damaged_checkpoint_is_passed_over_aloud(trainings, stopped, tmp_path, damage):
    directory = stopped(tmp_path / "training")
    file = damage(directory / "out/checkpoint-14")
    ended = trainings.run(directory, "keras3")
    (said,) = [line for line in ended.stderr.splitlines() if "checkpoint-14 is not used" in line]
    assert file in said
    assert "Instead out/checkpoint-12 is used." in ended.stderr
    assert "Going on from out/checkpoint-12: step 12, epoch 1." in ended.stderr
    trainings.check(directory, ended, "keras3")
    assert {16, 20, 21} < {checkpoint.step for checkpoint in Store(directory / "out").checkpoints()}


@pytest.mark.nightly
def test_all_of_them_damaged(trainings, stopped, tmp_path):
    directory = stopped(tmp_path / "training")
    for step in (4, 8, 12, 14):
        flip_a_bit(directory / f"out/checkpoint-{step}")
    shutil.rmtree(directory / "wandb")  # What begins anew is another run.
    ended = trainings.run(directory, "keras3")
    for step in (4, 8, 12, 14):
        assert f"checkpoint-{step} is not used" in ended.stderr
    assert "Instead a fresh start is made." in ended.stderr
    trainings.check(directory, ended, "keras3")


@pytest.mark.nightly
def test_two_processes_and_one_directory(trainings, tmp_path):
    first = trainings.start(tmp_path, "keras3", "--pause=0.4")
    first.wait_for("step 1\n")
    second = trainings.run(tmp_path, "keras3", "--pause=0", status=1)
    assert "DirectoryInUseError" in second.stderr
    assert "step" not in second.stdout
    ended = first.wait()
    assert ended.returncode == 0
    assert printed(ended) == trainings.straight("keras3")[0]
