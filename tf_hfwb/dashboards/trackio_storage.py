"""Where trackio keeps a run: in a database on this machine, or in a Space on the Hub."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple, Protocol

from tf_hfwb.dashboards import trackio_private
from tf_hfwb.dashboards.log_entries import Picture


class StoredRow(NamedTuple):
    """A row as trackio keeps it.

    Attributes:
        step: The step.
        time: As ISO 8601.
        values: By their names.
        id: What it is known by.
    """

    step: int
    time: str
    values: Mapping[str, Any]
    id: str


class StoredUse(NamedTuple):
    """Likewise a row of system metrics, which has no step."""

    time: str
    values: Mapping[str, float]
    id: str


class TrackioStorage(Protocol):
    """Where a run is kept."""

    @property
    def name(self) -> str:
        """The run's name."""

    @property
    def has_rows(self) -> bool:
        """Whether the run was there before."""

    def write(self, rows: Sequence[StoredRow], uses: Sequence[StoredUse], config: Mapping[str, Any] | None) -> None:
        """Write rows and system metrics, and the configuration where it is new."""

    def save_picture(self, step: int, picture: Picture) -> dict[str, Any]:
        """Save a picture; returns what a row has of it."""

    def close(self) -> None:
        """Nothing follows for now."""


class LocalDatabase:
    """A run in the project's database on this machine.

    Args:
        project: The project.
        name: The run's name; trackio finds one when None. One that is taken gets a number.
        group: The run's group.
        is_resumed: Whether it is the run of that name.
    """

    def __init__(self, project: str, name: str | None, group: str | None, *, is_resumed: bool) -> None:
        taken = trackio_private.run_names(project)
        self.has_rows = is_resumed and name in taken
        if name is None:
            name = trackio_private.new_name(project)
        elif not is_resumed and name in taken:
            name = next(each for number in itertools.count(2) if (each := f"{name}-{number}") not in taken)
        self.name = name
        self._project, self._group = project, group
        self._created = datetime.now(timezone.utc).isoformat()

    def write(self, rows: Sequence[StoredRow], uses: Sequence[StoredUse], config: Mapping[str, Any] | None) -> None:
        """Write rows and system metrics, and the configuration where it is new."""
        if rows:
            facts = {"_Username": None, "_Created": self._created, "_Group": self._group}
            whole = None if config is None else {**config, **facts}
            trackio_private.write_rows(self._project, self.name, rows, whole)
        if uses:
            trackio_private.write_machine_use(self._project, self.name, uses)

    def save_picture(self, step: int, picture: Picture) -> dict[str, Any]:
        """Save a picture among the project's media."""
        return trackio_private.save_picture(self._project, self.name, step, picture)

    def close(self) -> None:
        """Everything is written."""


class Space:
    """A run in a Space on the Hub, which trackio's own client sends there.

    Args:
        project: The project.
        name: The run's name; trackio finds one when None.
        group: The run's group.
        space: The Space's name, and whether a new one is private.
        is_resumed: Whether it is the run of that name.
    """

    def __init__(
        self, project: str, name: str | None, group: str | None, space: tuple[str, bool | None], *, is_resumed: bool
    ) -> None:
        import trackio

        space_id, is_private = space
        self._run = trackio.init(
            project,
            name,
            group=group,
            space_id=space_id,
            private=is_private,
            resume="allow" if is_resumed else "never",
            embed=False,
            auto_log_gpu=False,
        )
        self.name = str(self._run.name)
        self.has_rows = is_resumed

    def write(self, rows: Sequence[StoredRow], uses: Sequence[StoredUse], config: Mapping[str, Any] | None) -> None:
        """Hand rows and system metrics, and the configuration where it is new, to the client."""
        if config is not None:
            self._run.config.update(config)
        for row in rows:
            self._run.log(dict(row.values), step=row.step)
        for use in uses:
            self._run.log_system(dict(use.values))

    def save_picture(self, step: int, picture: Picture) -> dict[str, Any]:
        """Say that there was a picture: the client sends only its own objects, which it makes of files."""
        return {"_type": "trackio.markdown", "_value": f"picture of {picture.width} x {picture.height}"}

    def close(self) -> None:
        """Wait, half a minute at most, until the Space has the rows."""
        self._run.finish()
