"""Trainings in processes of their own, compared with those that nothing happens to."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import pathlib
import subprocess
from collections.abc import Iterable

from forking import Launcher
from helpers import history

from tf_hfwb.tracking.run_history import run_folders

RESUMABLE = str(pathlib.Path(__file__).with_name("resumable.py"))
Rows = dict[tuple[int, str], dict[str, float]]


class Trainings:
    """Starts trainings, and keeps the results of those that nothing happens to."""

    def __init__(self, launcher: Launcher, directory: pathlib.Path) -> None:
        self._launcher = launcher
        self._directory = directory
        self._straight: dict[tuple[str, ...], tuple[dict, Rows]] = {}

    def start(self, directory: pathlib.Path, *arguments: str):
        model, *options = arguments
        return self._launcher.start(RESUMABLE, model, "out", *options, directory=directory)

    def run(self, directory: pathlib.Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        ended = self.start(directory, *arguments).wait()
        assert ended.returncode == status, f"exit status {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended

    def straight(self, *arguments: str) -> tuple[dict, Rows]:
        """What a training prints and logs when it is not interrupted."""
        if arguments not in self._straight:
            directory = self._directory / f"straight{len(self._straight)}"
            self._straight[arguments] = printed(self.run(directory, *arguments)), logged(directory)
        return self._straight[arguments]

    def check(
        self, directory: pathlib.Path, ended: subprocess.CompletedProcess[str], *arguments: str, runs: int = 1
    ) -> None:
        """The same as if nothing had happened, in one run; ``runs`` if some had not got to their first checkpoint."""
        result, rows = self.straight(*arguments)
        assert printed(ended) == result
        assert logged(directory) == rows
        assert len({path.name for path in directory.glob("wandb/*run-*/run-*.wandb")}) <= runs


def printed(ended: subprocess.CompletedProcess[str]) -> dict:
    return json.loads(ended.stdout.splitlines()[-1])


def logged(directory: pathlib.Path) -> Rows:
    """The training rows and the evaluation rows of the newest run in a directory, by step, without what varies."""
    newest = max(directory.glob("wandb/*run-*/run-*.wandb"), key=lambda path: path.parent.name)
    folders = run_folders(newest.stem.removeprefix("run-"), directory / "wandb")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return by_step(itertools.chain(*pool.map(history, folders)))


def by_step(history: Iterable[dict]) -> Rows:
    """The rows by step and kind, without what varies; each may be there once."""
    rows: Rows = {}
    for row in history:
        row = {name: value for name, value in row.items() if name[0] != "_"}
        row = {name: value for name, value in row.items() if not name.endswith(("_per_second", "runtime"))}
        place = int(row["train/global_step"]), "train" if "train/loss" in row else "eval"
        assert place not in rows, f"the row of {place} is there twice"
        rows[place] = row
    return rows
