"""Searches whose processes are killed: none of their trials is lost, none is trained twice."""

from __future__ import annotations

import collections
import pathlib
import random
import signal
import time

import optuna
import pytest
from helpers import nightly

SCRIPT = str(pathlib.Path(__file__).parent / "searching.py")


def trials(directory):
    """The trials without the times at which they were made."""
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{directory}/search/optuna.db")
    return [
        (trial.number, trial.state.name, trial.params, trial.values, trial.intermediate_values)
        for trial in study.trials
    ]


def steps(process) -> dict[str, list[int]]:
    """The steps that a process began, in each trial."""
    found = collections.defaultdict(list)
    for line in process.stdout.splitlines():
        if line.startswith("step"):
            _, directory, step = line.split()
            found[directory.rpartition("/")[2]].append(int(step))
    return found


def saved_steps(directory) -> dict[str, int]:
    """The step of each trial's newest checkpoint."""
    found = collections.defaultdict(int)
    for checkpoint in directory.glob("run-*/checkpoint-*"):
        name, step = checkpoint.parent.name, int(checkpoint.name.rpartition("-")[2])
        found[name] = max(found[name], step)
    return found


@pytest.fixture(scope="module")
def whole(launcher, tmp_path_factory):
    """A search that nobody has killed."""
    found = {}

    def search(kind, n_trials):
        if (kind, n_trials) not in found:
            directory = tmp_path_factory.mktemp("whole")
            ended = launcher.start(SCRIPT, kind, str(directory), str(n_trials)).wait(300)
            assert ended.returncode == 0, ended.stderr
            found[kind, n_trials] = trials(directory), ended.stdout.splitlines()[-1]
        return found[kind, n_trials]

    return search


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kind", "kills", "n_trials", "seed"),
    [("keras", 2, 2, 0), nightly("keras", 10, 6, 1), nightly("tf_keras", 10, 6, 2), nightly("keras", 10, 6, 3)],
)
def test_a_search_that_is_killed_again_and_again(launcher, whole, tmp_path, kind, kills, n_trials, seed):
    expected, found = whole(kind, n_trials)
    chance = random.Random(seed)
    processes, saved = [], [saved_steps(tmp_path)]
    for _ in range(kills):
        process = launcher.start(SCRIPT, kind, str(tmp_path), str(n_trials))
        processes.append(process)
        process.wait_for("step", timeout=120)
        time.sleep(chance.uniform(0, 2.5))
        process.kill(signal.SIGKILL)
        process.wait()
        saved.append(saved_steps(tmp_path))
    last = launcher.start(SCRIPT, kind, str(tmp_path), str(n_trials))
    ended = last.wait(300)
    assert ended.returncode == 0, ended.stderr
    assert trials(tmp_path) == expected
    assert ended.stdout.splitlines()[-1] == found
    ends = collections.defaultdict(int)
    for process, found_there in zip([*processes, last], saved, strict=True):
        for trial, begun in steps(process).items():
            # Each process continues where the newest checkpoint is. A kill takes two saves at most, one that was
            # being written and one that waited, and the two steps since.
            assert begun == list(range(found_there[trial], begun[-1] + 1)), (trial, found_there)
            assert ends[trial] - 6 <= begun[0] <= ends[trial], (trial, ends[trial], begun)
            ends[trial] = begun[-1] + 1


@pytest.mark.parametrize(("number", "n_trials"), [nightly(2, 6), nightly(3, 8)])
def test_processes_share_the_trials(launcher, tmp_path, number, n_trials):
    processes = [launcher.start(SCRIPT, "keras", str(tmp_path), str(n_trials)) for _ in range(number)]
    for process in processes:
        ended = process.wait(300)
        assert ended.returncode == 0, ended.stderr
    found = trials(tmp_path)
    assert [trial[0] for trial in found] == list(range(n_trials))
    assert {trial[1] for trial in found} <= {"COMPLETE", "PRUNED"}
    begun_by = [steps(process) for process in processes]
    for trial in range(n_trials):
        begun = [step for found in begun_by for step in found[f"run-{trial}"]]
        assert begun == list(range(len(begun)))  # In one process, once.
    assert sum("step" in process.stdout for process in processes) == number


@pytest.mark.nightly
def test_a_process_takes_over_the_trial_of_a_killed_one_and_leaves_that_of_a_living_one(launcher, tmp_path):
    options = {"directory": tmp_path, "REPORT_TO": "wandb", "WANDB_MODE": "offline"}
    killed, living = [launcher.start(SCRIPT, "keras", "out", "4", **options) for _ in range(2)]
    killed.wait_for("step", 120)  # Its trial has a run, and no checkpoint.
    living.wait_for("step", 120)
    killed.kill(signal.SIGKILL)
    killed.wait()
    ended = living.wait(300)
    assert ended.returncode == 0, ended.stderr
    found = trials(tmp_path / "out")
    assert [trial[0] for trial in found] == [0, 1, 2, 3]
    assert {trial[1] for trial in found} <= {"COMPLETE", "PRUNED"}
    # That of the killed process continues in its run.
    folders = [path for path in (tmp_path / "wandb").glob("offline-run-*") if list(path.glob("*.wandb"))]
    assert len(folders) == 6
    assert len({path.name.rpartition("-")[2] for path in folders}) == 5  # Of four trials and the search.
