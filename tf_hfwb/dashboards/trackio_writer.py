"""trackio's database on this machine, and its Spaces on the Hub."""

from __future__ import annotations

import collections
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from tf_hfwb.dashboards.entry_writer import Training
from tf_hfwb.dashboards.log_entries import Configuration, Entry, MachineUse, Picture, Row, TableRows, Totals
from tf_hfwb.dashboards.trackio_storage import LocalDatabase, Space, StoredRow, StoredUse, TrackioStorage
from tf_hfwb.dashboards.trackio_values import config_values, row_values, table_value


class TrackioWriter:
    """Writes a training as a run of trackio.

    Each training is a run with a name of its own: where the project has one of that name, a number is added. A resumed
    training continues the run of its checkpoint: rows that it has are not written again.

    Args:
        project: The project.
        name: The run's name; trackio finds one when None.
        group: The run's group.
        space_id: The Space on the Hub that gets the run; None for the database on this machine.
        is_private: Whether a new Space is private; None for what the account has as its default.

    Example:
        >>> from tf_hfwb.dashboards.log_entries import Row
        >>> writer = TrackioWriter("huggingface", "bert")
        >>> writer.title, writer.identity
        ('trackio', {'project': 'huggingface', 'name': 'bert'})
    """

    title = "trackio"

    def __init__(
        self,
        project: str,
        name: str | None = None,
        *,
        group: str | None = None,
        space_id: str | None = None,
        is_private: bool | None = None,
    ) -> None:
        self._project = project
        self._wanted = self._name = name
        self._group = group
        self._space_id, self._is_private = space_id, is_private
        self._storage: TrackioStorage | None = None
        self._has_trained = False
        self._config: dict[str, Any] = {}
        self._stored_config: dict[str, Any] = {}
        self._numbers: collections.Counter[str] = collections.Counter()  # Of rows with the same step and names.
        self._last_step = 0

    @property
    def identity(self) -> Mapping[str, str]:
        """The project and the run's name, as far as it has one."""
        return {"project": self._project} | ({} if self._name is None else {"name": self._name})

    @property
    def place(self) -> str:
        """The project, and the run in it."""
        where = f" in the Space {self._space_id}" if self._space_id else ""
        return f"{self._project}/{self._name or ''}{where}"

    def begin(self, training: Training) -> None:
        """Choose the run of a training.

        Raises:
            Exception: The database or the Space cannot be used.
        """
        before = training.resumed
        storage = self._storage
        if training.step and before.get("project") == self._project and "name" in before:
            storage = self._open(before["name"], is_resumed=True)
        elif storage is None or (self._has_trained and not training.step):
            storage = self._open(self._wanted or training.name)
        self._has_trained = True
        if training.step and not storage.has_rows:
            self._store(storage, list(training.rows))

    def _open(self, name: str | None, *, is_resumed: bool = False) -> TrackioStorage:
        self.close(0)
        if self._space_id is None:
            storage: TrackioStorage = LocalDatabase(self._project, name, self._group, is_resumed=is_resumed)
        else:
            space = self._space_id, self._is_private
            storage = Space(self._project, name, self._group, space, is_resumed=is_resumed)
        self._storage, self._name = storage, storage.name
        self._stored_config = {}
        self._last_step = 0
        self._numbers.clear()
        return storage

    def write(self, entries: Sequence[Entry]) -> None:
        """Write entries; a configuration with the first row that follows it.

        Raises:
            Exception: The database is locked, the disk is full, or the Space does not take them.
        """
        self._store(self._storage or self._open(self._wanted), entries)

    def _store(self, storage: TrackioStorage, entries: Sequence[Entry]) -> None:
        rows: list[StoredRow] = []
        uses: list[StoredUse] = []
        numbers, last = self._numbers.copy(), self._last_step
        for entry in entries:
            if isinstance(entry, Configuration):
                self._config |= config_values(entry.values)
            elif isinstance(entry, MachineUse):
                uses.append(StoredUse(_iso(entry.time), entry.values, _row_id(storage.name, "use", entry.time)))
            else:
                last = last if isinstance(entry, Totals) else max(last, entry.step)
                rows.append(_stored_row(storage, entry, last, numbers))
        if rows or uses:
            is_new = self._config != self._stored_config
            storage.write(rows, uses, dict(self._config) if is_new else None)
            if rows:
                self._stored_config = dict(self._config)
        self._numbers, self._last_step = numbers, last

    def close(self, exit_code: int) -> None:
        """Wait until a Space has the rows."""
        if self._storage is not None:
            self._storage.close()


def _stored_row(
    storage: TrackioStorage, entry: Row | TableRows | Totals, last: int, numbers: collections.Counter[str]
) -> StoredRow:
    step = last if isinstance(entry, Totals) else entry.step

    def save(picture: Picture) -> dict[str, Any]:
        return storage.save_picture(step, picture)

    if isinstance(entry, TableRows):  # noqa: SIM108 - a line that is too long
        values = {entry.key: table_value(entry, save)}
    else:
        values = row_values(entry.values, save)
    key = json.dumps([type(entry).__name__, step, sorted(values)])
    numbers[key] += 1
    return StoredRow(step, _iso(entry.time), values, _row_id(storage.name, key, numbers[key]))


def _row_id(*facts: Any) -> str:
    """What a row is known by: the same in a training that is resumed and repeats it."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
