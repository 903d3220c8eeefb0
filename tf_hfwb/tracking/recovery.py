"""What did not get to the server in time, brought there later.

``wandb sync`` is for offline runs. Of an online run it would write the rows twice that had arrived, and the client's
log of an online run does not name its artifacts: the journal does. So the run is resumed here, and what the server
lacks is added: rows, artifacts, the summary and the end.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tf_hfwb.errors import ServerError
from tf_hfwb.messages import inform
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import journal
from tf_hfwb.tracking.artifacts import upload
from tf_hfwb.tracking.history import rows_in, summary_of, unwritten
from tf_hfwb.tracking.run import Tracker, open_tracker
from tf_hfwb.tracking.server import TYPE, is_online, versions_of_run

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class Recovered:
    """What was brought to the server.

    Attributes:
        run_path: ``entity/project/id`` of the run.
        rows: How many rows.
        artifacts: The directories that were uploaded.
        missing: The directories that could not be.
        skipped: The directories that are older than versions that the server has.
    """

    run_path: str
    rows: int
    artifacts: list[str]
    missing: list[str]
    skipped: list[str]


def sync(directory: str | os.PathLike[str]) -> Recovered:
    """Bring to the server what it lacks of an online run, from the run's folder.

    Args:
        directory: The run's folder, such as ``wandb/run-20260401_101500-3xk9``.

    Raises:
        ServerError: The run cannot be opened online.
        OSError: The folder holds no run.
    """
    directory = os.path.abspath(directory)
    known = summary_of(directory)
    settings = Settings.resolve(project=known["project"])
    if not is_online():
        raise ServerError(
            f"{directory} cannot be uploaded offline. Expected a key and no WANDB_MODE=offline. Call wandb login first."
        )
    tracker = open_tracker(settings, run_id=known["run_id"], entity=known.get("entity") or None)
    if tracker.directory is None or tracker.is_offline:
        raise ServerError(f"The run of {directory} cannot be opened online; see above. Try again later.")
    path = str(tracker.run.path)
    rows = [_without_the_clients(row) for row in rows_in(directory)]
    for row in rows:
        tracker.submit(tracker.log, row)
    tracker.submit(tracker.summarize, _without_the_clients(known.get("summary", {})))
    uploaded, skipped = upload_missing(tracker, logged_online(known["run_id"], os.path.dirname(directory)))
    tracker.flush()
    written = sum(bool(unwritten(row, tracker.already_logged.names)) for row in rows)
    tracker.finish(known.get("exit_code") or 0)
    missing = [upload.path for upload in tracker.uploads.missing()]
    return Recovered(path, written, [path for path in uploaded if path not in missing], missing, skipped)


def _without_the_clients(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the client's own columns, and without tables: they would be links to artifacts that are not there."""
    return {name: value for name, value in values.items() if name[0] != "_" and not isinstance(value, Mapping)}


def logged_online(run_id: str, folder: str) -> list[journal.Entry]:
    """What a run logged on this machine while it was online, oldest first, as far as the directories are still there.

    Args:
        run_id: The run's id.
        folder: The folder of the client's run folders, with the journal.
    """
    logged = [entry for entry in journal.entries(folder) if entry.run_id == run_id and not entry.is_offline]
    return [entry for entry in logged if entry.type == TYPE and entry.step is not None and journal.is_there(entry)]


def upload_missing(
    tracker: Tracker,
    logged: Sequence[journal.Entry],
    done: Callable[[journal.Entry, Any], None] = lambda entry, artifact: None,
) -> tuple[list[str], list[str]]:
    """Upload what is newer than the newest version that the server has of the run.

    Nothing older: a version that is uploaded later would be the ``latest``.

    Args:
        tracker: The run, online.
        logged: What to compare with the server.
        done: Called with each when its directory is no longer needed, and as ``then`` of ``log_directory``.

    Returns:
        The directories that are handed to the client or could not be, and those that the server does not have either
        and that are too old.

    Raises:
        ServerError: The server could not be asked.
    """
    paths, skipped = [], []
    for name in dict.fromkeys(entry.name for entry in logged):
        there = {int(version.metadata.get("global_step", -1)) for version in versions_of_run(name, tracker.run.id)}
        newest = max(there, default=-1)
        named = [entry for entry in logged if entry.name == name]
        last = {entry.step: entry for entry in named}
        for entry in named:
            if entry.step in there or last[entry.step] is not entry:
                done(entry, None)
            elif entry.step is None or entry.step < newest:
                skipped.append(entry.path)
                done(entry, None)
            else:
                paths.append(entry.path)
                _upload(tracker, entry, done)
    return paths, skipped


def _upload(tracker: Tracker, entry: journal.Entry, done: Callable[[journal.Entry, Any], None]) -> None:
    inform("Uploading %s, which W&B does not have: %s", entry.name, entry.path)
    announced = tracker.uploads.announce(entry.name, entry.path)
    try:
        upload(tracker, announced, entry, functools.partial(done, entry))
    except Exception as error:
        announced.is_refused = True
        _logger.warning("%s could not be uploaded (%s: %s).", entry.path, type(error).__name__, error)
        done(entry, None)
