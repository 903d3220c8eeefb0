"""The history of a run so far, from the server or from the client's own logs on this machine.

After a kill the log holds what the client had written until then (every 0.1 s in runs that we open, every 15 s
otherwise), perhaps with half a record at its end, and nothing is added later. Who resumes a long training reads only
the rows that it repeats, from the end of the log, or of the server's history, backwards
(:mod:`tf_hfwb.tracking.recent_rows`).
"""

from __future__ import annotations

import functools
import glob
import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tf_hfwb.json_text import number_of
from tf_hfwb.tracking.log_items import read_rows
from tf_hfwb.tracking.run_log import TORN, last_record, log_of
from tf_hfwb.tracking.wandb_private import RecordForm

STEP = "train/global_step"
EPOCH = "train/epoch"
INCREMENT = "incremental-table-file"  # How the client marks an increment of a table.

_logger = logging.getLogger("tf_hfwb")


@dataclass
class LoggedRows:
    """The rows that a run's history has.

    Attributes:
        names: The names that were written for each global step.
        increments: The newest increment of each table, as the history describes it.
        first_step: The step from which on all rows are known; those before it were not read.
    """

    names: dict[int, frozenset[str]] = field(default_factory=dict)
    increments: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    first_step: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row; one without a step is passed over."""
        step = global_step(row)
        if step is not None:
            self.add_names(step, names_in(row))
        for name, value in row.items():
            if isinstance(value, Mapping) and value.get("_type") == INCREMENT:
                self._add_increment(name, value)

    def merge(self, other: LoggedRows) -> None:
        """Add the rows of another history of the run."""
        self.first_step = max(self.first_step, other.first_step)
        for step, names in other.names.items():
            self.add_names(step, names)
        for name, increment in other.increments.items():
            self._add_increment(name, increment)

    def add_names(self, step: int, names: frozenset[str]) -> None:
        """Add the names of a row."""
        self.names[step] = _intern(names | self.names.get(step, frozenset()))

    def _add_increment(self, name: str, increment: Mapping[str, Any]) -> None:
        known = self.increments.get(name)
        if known is None or known["increment_num"] <= increment["increment_num"]:
            self.increments[name] = increment


def global_step(row: Mapping[str, Any]) -> int | None:
    """The global step of a row; None without one, as in a user's own row, or with one that is NaN or infinite.

    Example:
        >>> global_step({"train/global_step": 5.0}), global_step({"train/global_step": float("nan")})
        (5, None)
    """
    step = number_of(row.get(STEP))
    return int(step) if step is not None and math.isfinite(step) else None


def logged_rows(
    run_id: str, wandb_dir: str | os.PathLike[str], *, skip: str | None = None, only_offline: bool = False
) -> LoggedRows:
    """The rows in all local folders of a run: there is one for each time that it was resumed.

    A folder that cannot be read is reported and passed over: training is not held up by an old log.

    Args:
        run_id: The run's id.
        wandb_dir: The folder of the client's run folders.
        skip: A run folder to pass over: the one that is being written.
        only_offline: Pass over the folders of online runs.
    """
    logged = LoggedRows()
    for directory in run_folders(run_id, wandb_dir, skip=skip, only_offline=only_offline):
        for row in rows_in(directory):
            logged.add(row)
    return logged


def rows_on_server(run_path: str) -> LoggedRows | None:
    """The rows that the server has of a run; None, with a warning, if it cannot tell.

    Args:
        run_path: ``entity/project/id``.
    """
    import wandb

    logged = LoggedRows()
    try:
        # Not from the client's cache on disk, which may hold the history as it was before the run was resumed.
        for row in wandb.Api().run(run_path).scan_history(use_cache=False):
            logged.add(row)
    except Exception as error:
        warn_of_server(run_path, error)
        return None
    return logged


def warn_of_server(run_path: str, error: Exception) -> None:
    """Say that the server does not tell the history of a run."""
    _logger.warning(
        "The history of %s could not be read from W&B (%s: %s). Steps that it holds may be written twice.",
        run_path,
        type(error).__name__,
        error,
    )


def run_folders(
    run_id: str, wandb_dir: str | os.PathLike[str], *, skip: str | None = None, only_offline: bool = False
) -> list[str]:
    """The folders of a run on this machine, oldest first.

    Args:
        run_id: The run's id.
        wandb_dir: The folder of the client's run folders.
        skip: A folder to leave out.
        only_offline: Leave out the folders of online runs.
    """
    found = glob.glob(os.path.join(glob.escape(os.fspath(wandb_dir)), "*run-*", f"run-{glob.escape(run_id)}.wandb"))
    folders = {os.path.dirname(path) for path in found}
    if skip is not None:
        folders = {folder for folder in folders if os.path.abspath(folder) != os.path.abspath(skip)}
    if only_offline:
        folders = {folder for folder in folders if os.path.basename(folder).startswith("offline-")}
    return sorted(folders, key=lambda path: os.path.basename(path).removeprefix("offline-"))


def unwritten_part(row: Mapping[str, Any], rows: Mapping[int, frozenset[str]]) -> dict[str, Any]:
    """The part of ``row`` that is not in ``rows`` yet; empty when only rates are left, which vary.

    Example:
        >>> unwritten_part({"train/loss": 1.0, "train/global_step": 5}, {5: frozenset({"train/loss"})})
        {}
    """
    step = global_step(row)
    done = rows.get(step) if step is not None else None
    if done is None:
        return dict(row)
    rest = {name: value for name, value in row.items() if name not in done or name in (STEP, EPOCH)}
    return {} if all(name in (STEP, EPOCH) or is_rate(name) for name in rest) else rest


def is_rate(name: str) -> bool:
    """Whether a row's name is that of a duration or a rate, which is another one each time."""
    return name.endswith(("/runtime", "_per_second"))


def names_in(row: Mapping[str, Any]) -> frozenset[str]:
    """The names of a row but the client's own."""
    return _intern(frozenset(name for name in row if not name.startswith("_")))


@functools.lru_cache(maxsize=1024)
def _intern(names: frozenset[str]) -> frozenset[str]:
    """One set for all rows of equal names, of which a long run has many."""
    return names


def rows_in(directory: str) -> list[dict[str, Any]]:
    """The rows with a step in a run's folder, with a warning where some cannot be read."""
    complaints: list[str] = []
    rows = [row for row in read_rows(directory, complaints.append, containing=STEP) if global_step(row) is not None]
    damage = [complaint for complaint in complaints if complaint != TORN]
    if damage:
        _logger.warning(
            "The history in %s could not be read as a whole (%s). Steps that it holds may be written twice.",
            directory,
            damage[0],
        )
    return rows


def is_whole(directory: str, timeout: float = 2.0) -> bool:
    """Whether the log in a run's folder reaches the run's end, which the client writes last.

    A client that has once failed to write, as on a full disk, writes nothing more and says nothing. Only the end of the
    file is read; a log in another format counts as unfinished.

    Args:
        directory: The run's folder.
        timeout: Seconds for which to look again: the client's service may still be writing.
    """
    path = log_of(directory)
    end = time.monotonic() + timeout
    while path is not None and not _ends_with_the_run(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return path is not None


def _ends_with_the_run(path: str) -> bool:
    try:
        return RecordForm().kind_of(last_record(path)) == "exit"
    except OSError:
        return False
