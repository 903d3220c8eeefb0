"""Trainings against a server: killed, continued on another machine, and through its outages."""

from __future__ import annotations

import pathlib
import signal
import sys
import time

import pytest
from helpers import python
from wandb_server import WandbServer

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from forking import Launcher
from trainings import Trainings, by_step, printed

pytestmark = pytest.mark.slow

NAME = "checkpoint-first"


@pytest.fixture(scope="module")
def launcher():
    with Launcher() as launcher:
        yield launcher


@pytest.fixture(scope="module")
def trainings(launcher, tmp_path_factory):
    return Trainings(launcher, tmp_path_factory.mktemp("straight"))


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


@pytest.mark.parametrize(
    ("model", "pause"),
    [
        ("bert", 1.1),  # The client sends rows every 15 s: some are there, newer than the checkpoint.
        ("keras3", 0.15),  # No row has arrived.
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
    assert training.wait().status == -signal.SIGKILL
    time.sleep(1.0)  # The client's own process ends by itself.
    machines.server.recover()
    newest = machines.versions()[-1]
    assert machines.last_row() > newest if has_rows else machines.last_row() == 0
    machines.server.reset_counts()
    ended = trainings.run(machines.go_to("b"), model, "--source", f"{NAME}:latest")
    assert printed(ended) == result
    (run,) = machines.server.runs.values()
    assert by_step(run.history) == rows
    assert run.state == "finished"
    assert run.name == "first"
    assert "download_artifact_file" in [request.operation for request in machines.server.requests]
    assert machines.versions() == [*range(4, 21, 4), 21]
    assert "UseArtifact" in [request.operation for request in machines.server.requests]


def test_an_offline_training_that_was_killed_is_one_run_after_its_sync(trainings, machines, monkeypatch):
    result, rows = trainings.straight("bert")
    monkeypatch.setenv("WANDB_LOG_MODEL", "checkpoint")
    directory = machines.go_to("a")
    training = trainings.start(directory, "bert", "--pause", "0.1")
    training.wait_for("step 11\n")
    training.kill(signal.SIGKILL)
    training.wait()
    assert printed(trainings.run(directory, "bert")) == result
    machines.be_online()
    folders = sorted(str(path) for path in directory.glob("wandb/offline-run-*"))
    assert len(folders) == 2
    for folder in folders:
        python("-m", "wandb", "sync", folder)
    (run,) = machines.server.runs.values()
    assert by_step(run.history) == rows
    assert [row["_step"] for row in run.history] == list(range(len(run.history)))
    assert machines.versions() == [*range(4, 21, 4), 21]
    assert machines.server.collection("model-first").versions
