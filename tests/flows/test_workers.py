"""Several replicas and several workers train as one device does, and go on in other numbers; who differs is told so."""

from __future__ import annotations

import json
import pathlib
import signal
import time

import pytest
from helpers import free_addresses, history, nightly
from trainings import logged, printed

pytestmark = pytest.mark.slow

WORKER = str(pathlib.Path(__file__).with_name("one_worker.py"))


class Job:
    """Workers that train together, in one directory.

    Args:
        launcher: Starts them.
        directory: Where they run.
        number: How many.
        arguments: Those of each.
        own: Further ones of some, by their number.
        has_chief: Whether ``TF_CONFIG`` calls the first one chief.
    """

    def __init__(
        self, launcher, directory: pathlib.Path, number: int, *arguments: str, own: dict | None = None, has_chief=False
    ) -> None:
        workers = free_addresses(number)
        tasks = [("worker", index) for index in range(number)]
        jobs = {"worker": workers}
        if has_chief:
            tasks = [("chief", 0), *tasks[:-1]]
            jobs = {"chief": workers[:1], "worker": workers[1:]}
        self.processes = []
        for index, (kind, task) in enumerate(tasks):
            config = json.dumps({"cluster": jobs, "task": {"type": kind, "index": task}})
            given = [*arguments, *(own or {}).get(index, [])]
            self.processes.append(launcher.start(WORKER, *given, directory=directory, TF_CONFIG=config))

    def ended(self, timeout: float = 150.0):
        return [process.wait(timeout) for process in self.processes]

    def results(self) -> list[dict]:
        ended = self.ended()
        for one in ended:
            assert one.returncode == 0, f"exit status {one.returncode}\n{one.stdout}\n{one.stderr[-4000:]}"
        return [printed(one) for one in ended]


def alone(launcher, directory: pathlib.Path, *arguments: str, status: int = 0):
    ended = launcher.start(WORKER, *arguments, directory=directory).wait()
    assert ended.returncode == status, f"exit status {ended.returncode}\n{ended.stdout}\n{ended.stderr[-4000:]}"
    return ended


def like(rows: dict) -> dict:
    """Rows whose sums were added up in another order."""
    return {place: pytest.approx(row, rel=2e-5, abs=1e-6) for place, row in rows.items()}


# -- replicas ----------------------------------------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.parametrize("model", ["bert", "tf_keras", "keras"])
def test_4_replicas_then_2_then_1_have_the_history_of_one_device(launcher, tmp_path, model):
    alone(launcher, tmp_path / "straight", model, "out")
    there = tmp_path / "moved"
    alone(launcher, there, model, "out", "--replicas=4", "--stop_at=6", status=143)
    alone(launcher, there, model, "out", "--replicas=2", "--stop_at=11", status=143)
    result = printed(alone(launcher, there, model, "out"))
    assert (result["replicas"], result["step"]) == (1, 15)
    rows, straight = logged(there), logged(tmp_path / "straight")
    if model == "keras":  # Its metrics are a mean over replicas, those without samples among them.
        for row in [*rows.values(), *straight.values()]:
            row.pop("train/accuracy", None)
    assert rows == like(straight)
    assert len({path.name for path in there.glob("wandb/*run-*/run-*.wandb")}) == 1


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("model", "option"),
    [
        ("bert", "gradient_accumulation_steps=2"),
        ("keras", "gradient_accumulation_steps=2"),
        ("tf_keras", "gradient_accumulation_steps=2"),
        ("bert", "bf16=true"),
        ("bert", "fp16=true"),
        ("keras", "bf16=true"),
    ],
)
def test_replicas_with_accumulation_and_mixed_precision(launcher, tmp_path, model, option):
    """As one device, but for what 16 bits leave out, and bit for bit after an interruption."""
    arguments = model, "out", "--set", option
    alone(launcher, tmp_path / "one", *arguments)
    straight = printed(alone(launcher, tmp_path / "straight", *arguments, "--replicas=2", "--dropout=0.1"))
    alone(launcher, tmp_path / "stopped", *arguments, "--replicas=2", "--dropout=0.1", "--stop_at=4", status=143)
    assert printed(alone(launcher, tmp_path / "stopped", *arguments, "--replicas=2", "--dropout=0.1")) == straight
    alone(launcher, tmp_path / "two", *arguments, "--replicas=2")
    one, two = (
        {place: row["train/loss"] for place, row in logged(tmp_path / name).items() if "train/loss" in row}
        for name in ("one", "two")
    )
    assert two == pytest.approx(one, rel=0.05 if "16" in option else 5e-5)


@pytest.mark.nightly
def test_loss_scaling_of_keras_3_is_refused_before_training(launcher, tmp_path):
    ended = alone(launcher, tmp_path, "keras", "out", "--replicas=2", "--set", "fp16=true", status=1)
    assert "fp16=True cannot be used. Expected False with several replicas of a Keras 3 model" in ended.stderr
    assert not (tmp_path / "out").exists()


# -- workers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["tf_keras", nightly("bert"), nightly("batch_norm")])
def test_two_workers_train_as_two_replicas(launcher, tmp_path, model):
    arguments = model, "out", "--dropout=0.1", "--save_model"
    results = Job(launcher, tmp_path / "workers", 2, *arguments).results()
    replicas = printed(alone(launcher, tmp_path / "replicas", *arguments, "--replicas=2"))
    assert [result["strategy"] for result in results] == ["CollectiveAllReduceStrategy"] * 2
    assert [result["sha256"] for result in results] == [replicas["sha256"]] * 2
    assert results[0]["loss"] == pytest.approx(replicas["loss"], rel=1e-6)
    rows = logged(tmp_path / "workers")
    assert rows == like(logged(tmp_path / "replicas"))
    assert len([*(tmp_path / "workers").glob("wandb/*run-*/run-*.wandb")]) == 1
    saved = [
        sorted(path.name for path in (tmp_path / name / "out").glob("checkpoint-*")) for name in ("workers", "replicas")
    ]
    assert saved[0] == saved[1]
    assert (tmp_path / "workers" / "model" / "training_args.json").exists()


@pytest.mark.nightly
def test_a_model_of_keras_3_is_refused_before_training(launcher, tmp_path):
    for one in Job(launcher, tmp_path, 2, "keras", "out").ended():
        assert "model='Functional' cannot be used. Expected a model of tf_keras" in one.stderr


@pytest.mark.nightly
def test_a_table_of_predictions_that_the_chief_logs(launcher, tmp_path):
    Job(launcher, tmp_path, 2, "tf_keras", "out", "--table").results()
    rows = [row for path in tmp_path.glob("wandb/offline-run-*") for row in history(path)]
    assert sum(any("predictions" in name for name in row) for row in rows) == 3  # One of each evaluation.


@pytest.mark.nightly
def test_a_chief_and_one_worker(launcher, tmp_path):
    arguments = "batch_norm", "out", "--dropout=0.1", "--save_model"
    results = Job(launcher, tmp_path / "chief", 2, *arguments, has_chief=True).results()
    replicas = printed(alone(launcher, tmp_path / "replicas", *arguments, "--replicas=2"))
    assert [result["sha256"] for result in results] == [replicas["sha256"]] * 2
    assert logged(tmp_path / "chief") == like(logged(tmp_path / "replicas"))


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("number", "killed", "arguments"),
    [
        (2, 1, "bert"),
        (3, 2, "bert"),
        (3, 0, "tf_keras"),
        (2, 1, "bert --set gradient_accumulation_steps=2"),
        (2, 1, "bert --set bf16=true"),
    ],
)
def test_a_worker_that_is_killed(launcher, tmp_path, number, killed, arguments):
    """The others end by themselves, and the same job again ends with the weights of the one that nothing happens to."""
    model, *more = arguments.split()
    given = model, "out", "--dropout=0.1", *more
    straight = Job(launcher, tmp_path / "straight", number, *given).results()
    there = tmp_path / "killed"
    job = Job(launcher, there, number, *given, "--pause=0.1")
    step = 3 if more else 6
    job.processes[killed].wait_for(f"step {step}\n", timeout=120)
    job.processes[killed].kill(signal.SIGKILL)
    began = time.monotonic()
    statuses = [ended.returncode for ended in job.ended()]
    assert all(status != 0 for status in statuses)
    assert time.monotonic() - began < 120
    results = Job(launcher, there, number, *given).results()
    assert [result["sha256"] for result in results] == [result["sha256"] for result in straight]
    assert logged(there) == logged(tmp_path / "straight")


@pytest.mark.nightly
def test_moving_statistics_are_taken_up_again_as_a_mean_over_workers(launcher, tmp_path):
    """Each worker had its own before, so evaluations differ a little; what is trained does not."""
    given = "batch_norm", "out", "--dropout=0.1"
    straight = Job(launcher, tmp_path / "straight", 2, *given).results()
    there = tmp_path / "killed"
    job = Job(launcher, there, 2, *given, "--pause=0.1")
    job.processes[0].wait_for("step 6\n", timeout=120)
    job.processes[0].kill(signal.SIGKILL)
    job.ended()
    results = Job(launcher, there, 2, *given).results()
    assert [result["trainable"] for result in results] == [result["trainable"] for result in straight]
    rows, expected = logged(there), logged(tmp_path / "straight")
    assert {place: row for place, row in rows.items() if "train/loss" in row} == {
        place: row for place, row in expected.items() if "train/loss" in row
    }
    assert rows == {place: pytest.approx(row, rel=1e-2) for place, row in expected.items()}


@pytest.mark.nightly
def test_workers_that_are_told_to_end_and_go_on_alone(launcher, tmp_path):
    straight = printed(alone(launcher, tmp_path / "straight", "bert", "out"))
    there = tmp_path / "stopped"
    job = Job(launcher, there, 2, "bert", "out", "--pause=0.1")
    for process in job.processes:
        process.wait_for("step 6\n", timeout=120)
    for process in job.processes:
        process.kill(signal.SIGTERM)
    ended = job.ended()
    assert 143 in [one.returncode for one in ended], ended[0].stderr
    result = printed(alone(launcher, there, "bert", "out"))
    assert (result["replicas"], result["step"]) == (1, straight["step"])
    assert logged(there) == like(logged(tmp_path / "straight"))


# -- workers that differ -----------------------------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("own", "words"),
    [
        (["--samples=60"], "train_dataset/num_samples is 60 on 1 and 50 on 0"),
        nightly(["--batch_size=24"], "per_device_train_batch_size is 12 on 1 and 6 on 0"),
        nightly(["--set", "learning_rate=0.5"], "learning_rate is 0.5 on 1 and 0.01 on 0"),
        nightly(["--set", "seed=7"], "seed is 7 on 1 and 42 on 0"),
    ],
)
def test_workers_that_differ_say_in_what(launcher, tmp_path, own, words):
    began = time.monotonic()
    ended = Job(launcher, tmp_path, 2, "tf_keras", "out", own={1: own}).ended()
    assert time.monotonic() - began < 90
    assert all(one.returncode != 0 for one in ended)
    assert "WorkerError: Worker 1 (127.0.0.1:" in ended[0].stderr
    assert words in ended[0].stderr
    assert "WorkerError: Worker 0 (127.0.0.1:" in ended[1].stderr


@pytest.mark.nightly
def test_a_worker_that_does_not_come(launcher, tmp_path):
    own = {0: ["--set", "ddp_timeout=5"], 1: ["--late=40"]}
    ended = Job(launcher, tmp_path, 2, "tf_keras", "out", own=own).ended()
    assert "Worker 1 (127.0.0.1:" in ended[0].stderr
    assert "has not come to where worker 0 has been waiting for it for 5 s" in ended[0].stderr
