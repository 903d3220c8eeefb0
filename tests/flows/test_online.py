"""Trainings against a server: killed, continued on another machine, and through its outages."""

from __future__ import annotations

import pathlib
import signal
import sys
import time

import pytest
from helpers import nightly, python
from wandb_server import WandbServer

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from trainings import by_step, printed

pytestmark = pytest.mark.slow

NAME = "checkpoint-first"
SYNC = "import sys; from tf_hfwb.cli import main; sys.exit(main(['sync', sys.argv[1]]))"


class Machines:
    """Directories with a home each, and a server that all of them reach."""

    def __init__(self, server, monkeypatch, directory):
        self.server = server
        self._monkeypatch = monkeypatch
        self._directory = directory

    def go_to(self, name: str) -> pathlib.Path:
        """Be on that machine; its directory."""
        directory = self._directory / name
        for folder in (directory, directory / "home"):
            folder.mkdir(exist_ok=True)
        self._monkeypatch.setenv("HOME", str(directory / "home"))
        return directory

    def be_online(self, **more: str) -> None:
        for name, value in {**self.server.environment(), "WANDB_LOG_MODEL": "checkpoint", **more}.items():
            self._monkeypatch.setenv(name, value)

    def versions(self) -> list[int]:
        """The steps of the checkpoints that the server has."""
        try:
            versions = self.server.collection(NAME).versions
        except KeyError:
            return []
        return [version.metadata["global_step"] for version in versions if version.state == "COMMITTED"]

    def history(self) -> list[dict]:
        runs = self.server.runs
        return [] if not runs else next(iter(runs.values())).history

    def last_row(self) -> int:
        return max((row["train/global_step"] for row in self.history() if "train/global_step" in row), default=0)


@pytest.fixture
def machines(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_NAME", "first")
    with WandbServer() as server:
        yield Machines(server, monkeypatch, tmp_path)
        assert not server.unknown
        assert not server.errors


def wait_until(condition, timeout: float = 60.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("model", "pause"),
    [
        ("keras3", 1.1),  # The client sends rows every 15 s: some are there, newer than the checkpoint.
        nightly("bert", 1.1),
        nightly("keras3", 0.15),  # Hardly any row has arrived.
    ],
)
def test_a_killed_training_goes_on_on_another_machine(trainings, machines, model, pause):
    result, rows = trainings.straight(model)
    machines.be_online()
    training = trainings.start(machines.go_to("a"), model, "--pause", str(pause))
    has_rows = pause > 1
    wait_until(lambda: machines.versions()[1:])
    if has_rows:
        machines.server.stall(["CreateArtifact"])
        wait_until(lambda: machines.last_row() > machines.versions()[-1])
    training.kill(signal.SIGKILL)
    assert training.wait().returncode == -signal.SIGKILL
    time.sleep(1.0)  # The client's own process ends by itself.
    machines.server.recover()
    newest = machines.versions()[-1]
    assert machines.last_row() > newest or not has_rows
    machines.server.reset_counts()
    ended = trainings.run(machines.go_to("b"), model, "--source", f"{NAME}:latest")
    assert printed(ended) == result
    check_all_arrived(machines, rows)
    (run,) = machines.server.runs.values()
    assert run.name == "first"
    assert "download_artifact_file" in [request.operation for request in machines.server.requests]
    assert "UseArtifact" in [request.operation for request in machines.server.requests]


def test_what_a_killed_process_could_not_upload_is_uploaded_by_the_next(trainings, machines):
    result, rows = trainings.straight("keras3")
    machines.be_online()
    directory = machines.go_to("a")
    training = trainings.start(directory, "keras3", "--pause", "0.15")
    wait_until(lambda: machines.versions()[1:])
    machines.server.stall(["CreateArtifact"])
    training.wait_for("step 18\n")
    training.kill(signal.SIGKILL)
    training.wait()
    time.sleep(1.0)
    arrived = machines.versions()
    assert arrived[-1] < 16
    machines.server.recover()
    assert printed(trainings.run(directory, "keras3")) == result
    check_all_arrived(machines, rows)


@pytest.mark.nightly
def test_an_offline_training_that_was_killed_is_one_run_after_its_sync(trainings, machines, monkeypatch):
    result, rows = trainings.straight("bert")
    monkeypatch.setenv("WANDB_LOG_MODEL", "checkpoint")
    directory = machines.go_to("a")
    training = trainings.start(directory, "bert", "--pause", "0.3")
    training.wait_for("step 11\n")
    wait_until((directory / "out/checkpoint-4").exists)  # The disk may be slow.
    training.kill(signal.SIGKILL)
    training.wait()
    assert printed(trainings.run(directory, "bert")) == result
    machines.be_online()
    folders = sorted(str(path) for path in directory.glob("wandb/offline-run-*"))
    assert len(folders) == 2
    for folder in folders:
        python("-m", "wandb", "sync", folder)
    check_all_arrived(machines, rows)
    (run,) = machines.server.runs.values()
    assert [row["_step"] for row in run.history] == list(range(len(run.history)))


# -- outages -----------------------------------------------------------------------------------------------------------


def run_out(machines, trainings, outage, pause=0.2, **environment) -> tuple[pathlib.Path, object, tuple]:
    """Run a training and call ``outage`` at its fifth step; its directory, its end, and what it would have been."""
    expected = trainings.straight("keras3")
    machines.be_online(**environment)
    directory = machines.go_to("a")
    training = trainings.start(directory, "keras3", "--pause", str(pause))
    training.wait_for("step 5\n")
    outage(training)
    ended = training.wait()
    assert ended.returncode == 0, ended.stderr
    assert printed(ended) == expected[0]
    return directory, ended, expected


def check_all_arrived(machines, rows) -> None:
    (run,) = machines.server.runs.values()
    assert by_step(run.history) == rows
    assert run.state == "finished"
    assert machines.versions() == [*range(4, 21, 4), 21]
    (final,) = machines.server.collection("model-first").versions
    assert final.state == "COMMITTED"


@pytest.mark.nightly
def test_down_for_half_a_minute_in_the_middle(trainings, machines):
    def outage(training):
        machines.server.go_down()
        began = time.monotonic()
        training.wait_for("step 20\n")  # At its own speed.
        assert 30 <= time.monotonic() - began < 40
        machines.server.come_up()

    _, ended, (_, rows) = run_out(machines, trainings, outage, pause=2.05)
    check_all_arrived(machines, rows)
    assert "Not uploaded" not in ended.stderr


@pytest.mark.nightly
@pytest.mark.parametrize("status", [nightly(429), 500])
def test_answers_that_are_errors(trainings, machines, status):
    def outage(training):
        machines.server.fail(status)
        training.wait_for("step 20\n")
        machines.server.recover()

    _, _, (_, rows) = run_out(machines, trainings, outage)
    check_all_arrived(machines, rows)


@pytest.mark.nightly
def test_dying_in_the_middle_of_an_artifact(trainings, machines):
    server = machines.server

    def outage(training):
        server.cut_upload(after=100)
        server.on("CreateArtifactFiles", lambda _: server.cut_upload(after=1000))
        server.on("CommitArtifact", lambda _: server.fail(500, ["CommitArtifact"], times=2))
        training.wait_for("step 15\n")

    _, _, (_, rows) = run_out(machines, trainings, outage)
    check_all_arrived(machines, rows)


@pytest.mark.nightly
def test_down_until_the_end_and_uploaded_later(trainings, machines):
    directory, ended, (_, rows) = run_out(
        machines, trainings, lambda _: machines.server.go_down(), WANDB_FINISH_TIMEOUT="3"
    )
    (folder,) = directory.glob("wandb/run-*")
    assert f"tf-hfwb sync {folder}" in ended.stderr
    assert str(directory / "out" / "checkpoint-21") in ended.stderr
    machines.server.come_up()
    for _ in range(2):  # The second time there is nothing to do.
        printed_by_sync = python("-c", SYNC, str(folder)).stdout
    assert "0 rows and 0 artifacts uploaded" in printed_by_sync
    check_all_arrived(machines, rows)


@pytest.mark.nightly
def test_refused_artifacts_are_told_at_the_end(trainings, machines):
    directory, ended, (_, rows) = run_out(machines, trainings, lambda _: machines.server.fail(403, ["CreateArtifact"]))
    assert by_step(machines.history()) == rows
    assert ended.stderr.count("W&B did not take") == 1
    last = ended.stderr[ended.stderr.index("Not uploaded") :]
    for name in ("checkpoint-8", "checkpoint-21", "model"):
        assert str(directory / "out" / name) in last
    machines.server.recover()
    (folder,) = directory.glob("wandb/run-*")
    assert "artifacts uploaded" in python("-c", SYNC, str(folder)).stdout
    check_all_arrived(machines, rows)


@pytest.mark.nightly
def test_what_was_refused_before_newer_ones_arrived_is_named_by_the_sync(trainings, machines):
    def outage(training):
        machines.server.fail(403, ["CreateArtifact"], times=1)

    directory, ended, _ = run_out(machines, trainings, outage)
    (step,) = {4, 8, 12, 16} - set(machines.versions())
    refused = str(directory / "out" / f"checkpoint-{step}")
    assert refused in ended.stderr[ended.stderr.index("Not uploaded") :]
    (folder,) = directory.glob("wandb/run-*")
    said = python("-c", SYNC, str(folder)).stdout
    assert f"not uploaded: {refused}. W&B has newer versions" in said
    assert "0 artifacts uploaded" in said
    assert step not in machines.versions()


@pytest.mark.nightly
def test_down_at_the_start_is_an_offline_run(trainings, machines):
    expected, rows = trainings.straight("keras3")
    machines.be_online(WANDB_INIT_TIMEOUT="2")
    machines.server.go_down()
    directory = machines.go_to("a")
    ended = trainings.run(directory, "keras3")
    assert printed(ended) == expected
    (folder,) = directory.glob("wandb/offline-run-*")
    machines.server.come_up()
    python("-m", "wandb", "sync", str(folder))
    check_all_arrived(machines, rows)
