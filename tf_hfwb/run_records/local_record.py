"""A run in folders on this machine."""

from __future__ import annotations

import datetime
import functools
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tf_hfwb.run_records.folder_steps import FolderSteps, arrange
from tf_hfwb.run_records.record_source import RecordSource
from tf_hfwb.run_records.run_record import RunRecord
from tf_hfwb.tracking import lost_rows_file
from tf_hfwb.tracking.log_inspection import summary_of
from tf_hfwb.tracking.log_items import (
    ROW_STEP,
    RUNTIME,
    TIMESTAMP,
    read_items,
    read_rows,
    restore_numbers,
    without_own_part,
)
from tf_hfwb.tracking.run_history import STEP, LoggedRows, unwritten_part
from tf_hfwb.validation.relative_paths import check_path

_CLIENT_ARTIFACT = "wandb-client-artifact://"  # In front of an artifact's id, as the client gives it.

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class RunFolder:
    """One folder of a run.

    Attributes:
        path: The folder.
        facts: What the client tells of it: ``run_id``, ``project``, ``summary``, ...
        identity: The first record of the run in its log, with its group and job type.
    """

    path: str
    facts: Mapping[str, Any]
    identity: Mapping[str, Any]

    @classmethod
    def read(cls, path: str) -> RunFolder:
        """Read what is known of the run in a folder.

        Raises:
            OSError: The client cannot read it.
        """
        facts = restore_numbers(summary_of(path))
        records = read_items(path, "run", complain=lambda _: None)
        identity = next((item for _, item in records), {})
        return cls(os.path.realpath(path), facts, identity)

    @property
    def is_offline(self) -> bool:
        """Whether the client was offline."""
        return os.path.basename(self.path).startswith("offline-")

    @property
    def key(self) -> tuple[str, str]:
        """What is the same for all folders of a run: its id and its project. The log of a killed process may be empty.

        The entity is not: offline, the client may not know it.
        """
        log_id = next((name[4:-6] for name in os.listdir(self.path) if name.endswith(".wandb")), "")
        return self.facts["run_id"] or log_id, self.facts["project"]

    @property
    def started(self) -> float | None:
        """When this part of the run began."""
        return seconds_since_1970(self.facts.get("start_time"))

    @property
    def runtime(self) -> float:
        """Seconds that it ran, as far as the log tells."""
        summary = self.facts["summary"]
        since_start = summary.get(TIMESTAMP, 0) - (self.started or float("inf"))
        return float(max(0, summary.get(RUNTIME, 0), since_start))


class LocalSource(RecordSource):
    """Reads a run from its folders.

    Args:
        folders: Its folders, oldest first.
    """

    def __init__(self, folders: Sequence[RunFolder]) -> None:
        self._folders = tuple(folders)
        self._warned: set[str] = set()

    def rows(self, containing: str = "") -> Iterator[dict[str, Any]]:
        """See :meth:`RecordSource.rows`."""
        for folder, (shift, end) in zip(self._folders, self._spans, strict=True):
            step = -1
            for row in read_rows(folder.path, self._complain(folder.path), containing):
                step = int(row.get(ROW_STEP, step + 1 - shift)) + shift
                if step < end:
                    yield row | {ROW_STEP: step}
            self._warn_of_missing_end(folder)
            if not containing:
                for number, row in enumerate(self._rescued[folder.path], max(step, shift - 1) + 1):
                    yield row | {ROW_STEP: number}

    def system_rows(self) -> Iterator[dict[str, float]]:
        """See :meth:`RecordSource.system_rows`."""
        for folder in self._folders:
            for _, item in read_items(folder.path, "stats", complain=self._complain(folder.path)):
                time = seconds_since_1970(item.get("timestamp"))
                if time is not None:
                    yield {TIMESTAMP: time, **item.get("item", {})}

    def find_file(self, value: Mapping[str, Any]) -> str | None:
        """See :meth:`RecordSource.find_file`. The file in an artifact comes first: only it names a table's images."""
        path = str(value.get("path", ""))
        reference = str(value.get("artifact_path", "")).removeprefix(_CLIENT_ARTIFACT)
        for name in (reference, path):
            staged = self._staged.get(name)
            if staged is not None and os.path.isfile(staged):
                return staged
        try:
            check_path(path)
        except ValueError:
            return None
        found = [os.path.join(folder.path, "files", path) for folder in self._folders]
        return next(filter(os.path.isfile, found), None)

    def warn_of_missing_end(self) -> None:
        """See :meth:`RecordSource.warn_of_missing_end`."""
        for folder in self._folders:
            self._warn_of_missing_end(folder)

    def _warn_of_missing_end(self, folder: RunFolder) -> None:
        if folder.facts.get("exit_code") is None:
            self._complain(folder.path)("the run's end is not in it: it was killed, or has not ended yet")

    @property
    def last_step(self) -> int | None:
        """The number of the last row, counted through all folders; None without rows."""
        ends = [
            folder.facts["step"] + shift + len(self._rescued[folder.path])
            for folder, (shift, _) in zip(self._folders, self._spans, strict=True)
            if folder.facts.get("step") is not None
        ]
        return max(ends, default=None)

    def _complain(self, folder: str) -> Callable[[str], None]:
        def complain(complaint: str) -> None:
            if folder not in self._warned:
                self._warned.add(folder)
                _logger.warning(
                    "The log in %s is not whole (%s). What could be read of it is shown; the rest was not written, or "
                    "is damaged.",
                    folder,
                    complaint,
                )

        return complain

    @functools.cached_property
    def _spans(self) -> list[tuple[int, float]]:
        """The shift and the end of each folder's steps."""
        return arrange([*map(self._steps_of, self._folders)])

    def _steps_of(self, folder: RunFolder) -> FolderSteps:
        first = next((row.get(ROW_STEP) for row in read_rows(folder.path, self._complain(folder.path))), None)
        return FolderSteps(folder.is_offline, first, folder.facts.get("step"), len(self._rescued[folder.path]))

    @functools.cached_property
    def _rescued(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of each folder's rescue file that its log does not have."""
        return {folder.path: self._rescued_in(folder.path) for folder in self._folders}

    def _rescued_in(self, folder: str) -> list[dict[str, Any]]:
        rows = lost_rows_file.read([os.path.join(folder, lost_rows_file.FILE)]).rows
        if not rows:
            return []
        logged = LoggedRows()
        for row in read_rows(folder, self._complain(folder), containing=STEP):
            logged.add(row)
        return [part for row in rows if (part := unwritten_part(row, logged.names))]

    @functools.cached_property
    def _staged(self) -> dict[str, str]:
        """The files of artifacts that wait for their upload, by their artifact and name, and media by name alone."""
        found = {}
        for folder in self._folders:
            for _, item in read_items(folder.path, "artifact", complain=self._complain(folder.path)):
                for entry in item.get("manifest", {}).get("contents", ()):
                    name = entry.get("path", "")
                    found[f"{item.get('client_id')}/{name}"] = entry.get("local_path", "")
                    if name.startswith("media/"):
                        found[name] = entry.get("local_path", "")
        return found


def local_record(folders: Sequence[RunFolder]) -> RunRecord:
    """The record of a run in these folders, which are all of it.

    Args:
        folders: The folders of one run, in any order.
    """
    parts = sorted(folders, key=lambda folder: os.path.basename(folder.path).removeprefix("offline-"))
    facts: dict[str, Any] = {}
    identity: dict[str, Any] = {}
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    exit_code = None
    for part in parts:
        rescued = lost_rows_file.read([os.path.join(part.path, lost_rows_file.FILE)])
        facts |= {name: value for name, value in part.facts.items() if value not in ("", None, [])}
        identity |= part.identity
        config |= part.facts.get("config") or {}
        summary |= {**part.facts.get("summary", {}), **rescued.summary}
        exit_code = part.facts.get("exit_code") if rescued.exit_code is None else rescued.exit_code
    source = LocalSource(parts)
    if len(parts) > 1 and source.last_step is not None:  # Offline, the client counts anew in each.
        summary[ROW_STEP] = source.last_step
    run_id = parts[0].key[0]
    return RunRecord(
        run_id=run_id,
        name=facts.get("name") or run_id,
        project=facts.get("project"),
        entity=facts.get("entity"),
        group=identity.get("run_group"),
        job_type=identity.get("job_type"),
        tags=tuple(facts.get("tags", ())),
        notes=facts.get("notes"),
        state=parts[-1].facts.get("state") or "unknown",
        exit_code=exit_code,
        started=next((part.started for part in parts if part.started is not None), None),
        runtime=_runtime(parts),
        folders=tuple(part.path for part in parts),
        url=None,
        config=without_own_part(config),
        summary=without_own_part(summary),
        source=source,
    )


def _runtime(parts: Sequence[RunFolder]) -> float:
    """Online, the client continues the time of a run that it resumes; offline it begins at 0."""
    total = 0.0
    for part in parts:
        total = total + part.runtime if part.is_offline else max(total, part.runtime)
    return total


def seconds_since_1970(time: Any) -> float | None:
    """A time as the client writes it, in seconds since 1970."""
    # Python 3.10 takes neither the Z nor nanoseconds.
    match = re.fullmatch(r"(\d+-\d+-\d+T\d+:\d+:\d+)(\.\d+)?Z", str(time))
    if match is None:
        return None
    try:
        whole = datetime.datetime.fromisoformat(f"{match[1]}+00:00").timestamp()
    except ValueError:
        return None
    return whole + float(match[2] or 0)
