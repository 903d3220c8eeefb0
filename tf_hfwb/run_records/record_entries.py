"""A recorded run as entries for other dashboards, and an account of what these have no place for."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tf_hfwb.dashboards.log_entries import Configuration, Entry, Histogram, MachineUse, Picture, Row, TableRows, Totals
from tf_hfwb.dashboards.pictures import read_picture
from tf_hfwb.errors import SettingError
from tf_hfwb.run_records.recorded_histogram import read_histogram
from tf_hfwb.run_records.run_record import RunRecord
from tf_hfwb.tracking.log_items import MEDIA_TYPE, ROW_STEP, TIMESTAMP
from tf_hfwb.tracking.run_history import STEP, global_step

_TABLE = "table-file"
_IMAGES = "images/separated"


class RecordEntries:
    """The entries of a run, in order: its configuration, its rows, its tables, its totals, the machine's use.

    Steps are those of ``train/global_step`` where the run has them, else W&B's own.

    Args:
        run: The run.

    Attributes:
        left_out: How many values of each kind no dashboard has a place for, known when all entries were seen.
    """

    def __init__(self, run: RunRecord) -> None:
        self.left_out: collections.Counter[str] = collections.Counter()
        self._run = run
        self._time = run.started or 0.0
        self._step: int | None = None  # Of the last row that has one of a training.
        self._table_steps: dict[str, int] = {}  # Where a table was logged last.
        self._names: set[str] = set()

    def __iter__(self) -> Iterator[Entry]:
        if self._run.config:
            yield Configuration(self._run.config)
        for row in self._run.rows():
            values = dict(self._values(row))
            if values:
                yield Row(self._step_of(row), self._time, values)
        for key in self._run.table_names():
            yield from self._table(key)
        totals = dict(self._totals())
        if totals:
            yield Totals(self._time, totals)
        yield from self._machine_use()

    def _step_of(self, row: Mapping[str, Any]) -> int:
        return int(row.get(ROW_STEP, 0)) if self._step is None else self._step

    def _values(self, row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        self._time = row.get(TIMESTAMP, self._time)
        step = global_step(row)
        self._step = self._step if step is None else step
        for name, value in row.items():
            if name.startswith("_"):
                continue
            self._names.add(name)
            if isinstance(value, (int, float, str)):
                yield name, value
            elif isinstance(value, Mapping) and MEDIA_TYPE in value:
                yield from self._media(name, value, row)
            elif value is not None:
                self.left_out["lists" if isinstance(value, Sequence) else type(value).__name__] += 1

    def _media(self, name: str, value: Mapping[str, Any], row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        kind = str(value[MEDIA_TYPE])
        found: list[tuple[str, Any]] = []
        if kind == "histogram":
            histogram = read_histogram(value)
            found = [] if histogram is None else [(name, Histogram(*histogram))]
        elif _TABLE in kind:
            self._table_steps[name] = self._step_of(row)
            return
        elif kind == "image-file":
            found = [(name, one) for one in self._pictures([value])]
        elif kind == _IMAGES:
            captions = value.get("captions") or []
            files = [{"path": path} for path in value.get("filenames", ())]
            for number, caption in enumerate(captions[: len(files)]):
                files[number]["caption"] = caption
            found = [(f"{name}/{number}", one) for number, one in enumerate(self._pictures(files))]
        if not found:
            self.left_out[kind] += 1
        yield from found

    def _pictures(self, values: Sequence[Mapping[str, Any]]) -> list[Picture]:
        return [picture for value in values if (picture := self._picture(value)) is not None]

    def _picture(self, value: Mapping[str, Any]) -> Picture | None:
        path = self._run.file_of(value)
        return None if path is None else read_picture(path, str(value.get("caption") or ""))

    def _table(self, key: str) -> Iterator[TableRows]:
        """A table at once, or where its rows tell the step, as this package's do, step by step."""
        try:
            table = self._run.table(key)
        except SettingError:
            self.left_out["tables whose file is not here"] += 1
            return
        parts: dict[int, list[list[Any]]] = {}
        place = table.columns.index(STEP) if STEP in table.columns else None
        last = self._table_steps.get(key, self._step or 0)
        for row in table.rows:
            step = None if place is None else global_step({STEP: row[place]})
            parts.setdefault(last if step is None else step, []).append([self._cell(cell) for cell in row])
        for step, rows in parts.items():
            yield TableRows(key, step, self._time, table.columns, rows)

    def _cell(self, cell: Any) -> Any:
        if not isinstance(cell, Mapping) or MEDIA_TYPE not in cell:
            return cell
        picture = self._picture(cell) if cell[MEDIA_TYPE] == "image-file" else None
        if picture is None:
            self.left_out[f"{cell[MEDIA_TYPE]} in tables"] += 1
            return f"{cell[MEDIA_TYPE]} {cell.get('path', '')}"
        return picture

    def _totals(self) -> Iterator[tuple[str, Any]]:
        """What stands in the summary only."""
        for name, value in self._run.summary.items():
            if not name.startswith("_") and name not in self._names and isinstance(value, (int, float, str)):
                yield name, value

    def _machine_use(self) -> Iterator[MachineUse]:
        for row in self._run.system_rows():
            time = row[TIMESTAMP]
            values = {
                name: value for name, value in row.items() if name != TIMESTAMP and isinstance(value, (int, float))
            }
            if values:
                yield MachineUse(time, max(0.0, time - (self._run.started or time)), values)
