"""Every name of trackio that it does not promise.

Its public ``trackio.log`` hands rows to a thread, which ends without a word when the database is locked or the disk is
full, and gives each row a new identity, so that a resumed training has its repeated steps twice. What that thread calls
is called here instead: it raises, and leaves out rows that are there.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tf_hfwb.dashboards.log_entries import Picture


def write_rows(project: str, run: str, rows: Sequence[Any], config: Mapping[str, Any] | None) -> None:
    """Write rows into the project's database, and the run's configuration if there is one.

    Args:
        project: The project.
        run: The run's name.
        rows: Each a step, a time as ISO 8601, the values, and what it is known by: one that is there is left out.
        config: The configuration, whole.

    Raises:
        sqlite3.Error: The database cannot be written.
        OSError: There is no room.
    """
    from trackio.sqlite_storage import SQLiteStorage

    steps, times, values, ids = ([*column] for column in zip(*rows, strict=True))
    SQLiteStorage.bulk_log(
        project=project,
        run=run,
        metrics_list=values,
        steps=steps,
        timestamps=times,
        config=None if config is None else dict(config),
        log_ids=ids,
    )


def write_machine_use(project: str, run: str, rows: Sequence[Any]) -> None:
    """Write system metrics: rows as in :func:`write_rows`, without a step."""
    from trackio.sqlite_storage import SQLiteStorage

    times, values, ids = ([*column] for column in zip(*rows, strict=True))
    SQLiteStorage.bulk_log_system(project=project, run=run, metrics_list=values, timestamps=times, log_ids=ids)


def run_names(project: str) -> list[str]:
    """The names of the project's runs."""
    from trackio.sqlite_storage import SQLiteStorage

    return list(SQLiteStorage.get_runs(project))


def new_name(project: str) -> str:
    """A name for a run, as trackio makes them."""
    from trackio.utils import generate_readable_name

    return str(generate_readable_name(run_names(project)))


def database_of(project: str) -> str:
    """The file of a project's database."""
    from trackio.sqlite_storage import SQLiteStorage

    return os.fspath(SQLiteStorage.get_project_db_path(project))


def save_picture(project: str, run: str, step: int, picture: Picture) -> dict[str, Any]:
    """Save a picture among the project's media; returns what a row has of it."""
    import trackio
    from PIL import Image

    image = trackio.Image(Image.open(io.BytesIO(picture.data)), caption=picture.caption or None)
    image._save(project, run, step)
    return dict(image._to_dict())
