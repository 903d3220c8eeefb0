"""``RunRecord``: one run of W&B, wherever it is."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.run_records.record_source import RecordSource
from tf_hfwb.run_records.recorded_table import RecordedTable, read_table
from tf_hfwb.tracking.log_items import MEDIA_TYPE
from tf_hfwb.tracking.run_history import INCREMENT

_TABLE = "table-file"  # The type of a table; that of an increment has it in it.
TABLES = (_TABLE, INCREMENT)  # The types of values that :meth:`RunRecord.table` reads.


@dataclass(frozen=True)
class RunRecord:
    """One run: of one or several folders on this machine (a resumed offline run has several), or on the server.

    Attributes:
        run_id: Its id.
        name: Its name; the id, if it has none.
        project: Its project.
        entity: The user or team; None if the client did not know it, as offline.
        group: Its group.
        job_type: What it does, as ``train``.
        tags: Its tags.
        notes: Its notes.
        state: ``finished``, ``failed``, ``running``, ``crashed`` or ``unknown``.
        exit_code: That of the process; None if it has not ended, or is not known.
        started: When it began first, in seconds since 1970.
        runtime: How long it ran, in seconds, all its parts together.
        folders: Its folders on this machine, oldest first.
        url: Its page; None for a run that is read from folders.
        config: Its configuration, nested as it was logged.
        summary: Its summary, nested as it was logged.
        source: Where it is read from.

    Example:
        >>> import wandb
        >>> with wandb.init(mode="offline", name="first") as logged:
        ...     logged.log({"train/loss": 0.5})
        >>> from tf_hfwb.run_records.record_lookup import find_runs
        >>> [run] = find_runs(["wandb"])
        >>> [row["train/loss"] for row in run.rows()]
        [0.5]
    """

    run_id: str
    name: str
    project: str | None
    entity: str | None
    group: str | None
    job_type: str | None
    tags: tuple[str, ...]
    notes: str | None
    state: str
    exit_code: int | None
    started: float | None
    runtime: float | None
    folders: tuple[str, ...]
    url: str | None
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    source: RecordSource = field(repr=False, compare=False)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """The history in order, each ``_step`` once; one row is in memory at a time.

        Values are as they were logged: numbers, texts, and dicts with ``_type`` for histograms, tables and media. What
        was nested has a point between the names.
        """
        return self.source.rows()

    def system_rows(self) -> Iterator[Mapping[str, float]]:
        """The use of the machine over time: ``_timestamp``, in seconds since 1970, and what the client measured."""
        return self.source.system_rows()

    def table_names(self) -> tuple[str, ...]:
        """The names of the logged tables, in the order in which they were first logged."""
        return tuple(self._tables)

    def table(self, key: str) -> RecordedTable:
        """A logged table: the increments of one that grows joined, else the newest one of that name.

        Args:
            key: Its name.

        Raises:
            SettingError: The run has no table of that name, or its file is not here.
        """
        if key not in self._tables:
            known = self.table_names()
            if not known:
                raise SettingError("table", key, expected="a run with tables", advice=f"{self.name!r} has logged none.")
            raise SettingError("table", key, accepted=known, advice="Name one of them.")
        return read_table(key, self._tables[key], self.source.find_file)

    def file_of(self, value: Any) -> str | None:
        """The file on this machine of a logged image or other media; None for other values, and if it is not here.

        Args:
            value: A value of a row, or a cell of a table.
        """
        return self.source.find_file(value) if isinstance(value, Mapping) and "path" in value else None

    @functools.cached_property
    def _tables(self) -> dict[str, list[Mapping[str, Any]]]:
        """What the history says of each table: of one that grows, all its increments."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for row in self.source.rows(containing=f'{_TABLE}"'):
            for name, value in row.items():
                kind = value.get(MEDIA_TYPE) if isinstance(value, Mapping) else None
                if kind == INCREMENT and name in found and found[name][-1][MEDIA_TYPE] == INCREMENT:
                    found[name].append(value)
                elif kind in TABLES:
                    found[name] = [value]
        for name, value in self.summary.items():
            if name not in found and isinstance(value, Mapping) and value.get(MEDIA_TYPE) == _TABLE:
                found[name] = [value]
        return found
