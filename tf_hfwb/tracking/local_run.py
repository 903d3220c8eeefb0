"""A run as it is on this machine: its folders, its rows, and how it ended."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.tracking import lost_rows_file
from tf_hfwb.tracking.log_inspection import summary_of
from tf_hfwb.tracking.run_history import STEP, rows_in, run_folders


@dataclass
class LocalRun:
    """One run on this machine, which may have been resumed several times.

    Attributes:
        run_id: Its id.
        folders: Its folders, oldest first.
        files: Rescue files that are elsewhere.
        facts: What the client tells of it, the newest value of each: ``project``, ``entity``, ``summary``,
            ``exit_code``, ... ``start_time`` is that of the first folder.
    """

    run_id: str
    folders: list[str]
    files: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def find(cls, *paths: str | os.PathLike[str]) -> LocalRun:
        """The run of these folders, with all its other folders beside them.

        Args:
            *paths: One or more of the run's folders, and rescue files.

        Raises:
            OSError: A folder holds no run, or the client can read none of them.
            SettingError: They are of different runs.
        """
        real = [os.path.realpath(path) for path in paths]
        files = [path for path in real if os.path.isfile(path)]
        folders = [path for path in real if path not in files]
        ids = {_run_id(path) for path in folders}
        if len(ids) != 1:
            raise SettingError(
                "run",
                shlex.join(str(path) for path in paths),
                expected="the folders of one run",
                advice="Call it for each run by itself.",
            )
        (run_id,) = ids
        beside = [found for path in folders for found in run_folders(run_id, os.path.dirname(path))]
        run = cls(run_id, list(dict.fromkeys([*beside, *folders])), files)
        run.read_facts()
        return run

    def read_facts(self) -> None:
        """Read :attr:`facts` from the folders and files. A folder that cannot be read is passed over.

        Raises:
            OSError: The client can read none of the folders.
        """
        summaries = self._read_summaries()
        for folder, facts in summaries.items():
            rescued = lost_rows_file.read([os.path.join(folder, lost_rows_file.FILE)])
            summary = {**self.facts.get("summary", {}), **facts.get("summary", {}), **rescued.summary}
            config = {**self.facts.get("config", {}), **(facts.get("config") or {})}
            known = {name: value for name, value in facts.items() if value not in ("", None)}
            start_time = self.facts.get("start_time", facts.get("start_time"))
            exit_code = facts.get("exit_code") if rescued.exit_code is None else rescued.exit_code
            self.facts |= known | {
                "start_time": start_time,
                "summary": summary,
                "config": config,
                "exit_code": exit_code,
            }
        elsewhere = lost_rows_file.read(self.files)
        self.facts["summary"] |= elsewhere.summary
        if elsewhere.exit_code is not None:
            self.facts["exit_code"] = elsewhere.exit_code

    def _read_summaries(self) -> dict[str, dict[str, Any]]:
        """What the client tells of each folder that it can read."""
        summaries, failure = {}, None
        for folder in self.folders:
            try:
                summaries[folder] = summary_of(folder)
            except OSError as error:  # The log of a process that was killed early, for example.
                failure = error
        if not summaries and failure is not None:
            raise failure
        return summaries

    def rows(self) -> list[dict[str, Any]]:
        """All rows with a step, in order; those that are in several places, several times."""
        files = [*(os.path.join(folder, lost_rows_file.FILE) for folder in self.folders), *self.files]
        found = [row for folder in self.folders for row in rows_in(folder)]
        found += [row for row in lost_rows_file.read(files).rows if STEP in row]
        return sorted(map(drop_client_values, found), key=lambda row: row[STEP])

    @property
    def path(self) -> str:
        """``entity/project/id``, or what is known of it."""
        return "/".join(filter(None, (self.facts.get("entity"), self.facts["project"], self.run_id)))


def _run_id(folder: str) -> str:
    files = glob.glob(os.path.join(glob.escape(folder), "run-*.wandb"))
    if not files:
        raise OSError(
            f"{folder} holds no run of W&B's client. Expected the folder of a run, such as wandb/run-DATE-ID."
        )
    return os.path.basename(files[0]).removeprefix("run-").removesuffix(".wandb")


def drop_client_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A row or summary without the client's own columns and without tables.

    Tables would be links to artifacts that are not on the server.
    """
    return {name: value for name, value in values.items() if name[0] != "_" and not isinstance(value, Mapping)}
