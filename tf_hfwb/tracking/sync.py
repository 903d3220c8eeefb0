"""Uploads later what did not reach the server in time.

``wandb sync`` is for offline runs, and takes each folder by itself: a run that was resumed has several. Of an online
run it would write the rows twice that had arrived, and the client's log of an online run does not name its artifacts:
the journal does. So the offline folders are left to ``wandb sync``, in order, which marks what it has done. Then the
run is resumed, and what the server still lacks is added: rows, also those that never got into the client's log,
artifacts, the summary and the end.
"""

from __future__ import annotations

import functools
import glob
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tf_hfwb.errors import ServerError
from tf_hfwb.messages import inform
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import artifact_journal
from tf_hfwb.tracking.artifact_logging import upload
from tf_hfwb.tracking.artifact_names import ArtifactReference
from tf_hfwb.tracking.local_run import LocalRun, drop_client_values
from tf_hfwb.tracking.process_tracker import open_tracker
from tf_hfwb.tracking.run_history import LoggedRows, rows_in, rows_on_server, unwritten_part
from tf_hfwb.tracking.tracker import Tracker
from tf_hfwb.tracking.wandb_server import MODEL_TYPE, is_online, versions_of_run

_logger = logging.getLogger("tf_hfwb")

# The exit code of a run whose log does not tell how it ended, as in the client's own sync.
_UNKNOWN_EXIT_CODE = 1


@dataclass(frozen=True)
class Recovered:
    """What was uploaded.

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


def sync(*paths: str | os.PathLike[str]) -> Recovered:
    """Upload what the server lacks of a run, from the run's folders.

    Args:
        *paths: One or more folders of the run, such as ``wandb/run-20260401_101500-3xk9``, and files of rows that
            tf_hfwb has kept. Other folders of the run beside them are found.

    Raises:
        ServerError: There is no key, or the run cannot be opened online.
        OSError: A folder holds no run.
        SettingError: The folders are of different runs.
    """
    run = LocalRun.find(*paths)
    settings = Settings.resolve(project=run.facts["project"])
    if not is_online():
        raise _error_without_a_key(run)
    places = sorted({os.path.dirname(folder) for folder in run.folders})
    logged = _logged_artifacts(run.run_id, places)
    rows, num_uploaded = run.rows(), _upload_offline_folders(run.folders)
    if all(map(_is_offline, run.folders)) and _is_complete_on_server(run, rows, logged):
        return Recovered(run.path, num_uploaded, [], [], [])
    tracker = open_tracker(settings, run_id=run.run_id, entity=run.facts.get("entity") or None)
    if tracker.directory is None or tracker.is_offline:
        raise ServerError(f"The run of {run.folders[-1]} cannot be opened online; see above. Try again later.")
    run_path = str(tracker.run.path)
    written: list[Mapping[str, Any]] = []
    tracker.submit(_log_missing, tracker, rows, written)
    tracker.submit(tracker.summarize, drop_client_values(run.facts["summary"]))
    uploaded, skipped = upload_missing(tracker, logged)
    tracker.flush()
    exit_code = run.facts["exit_code"]
    tracker.finish(_UNKNOWN_EXIT_CODE if exit_code is None else exit_code)
    missing = [upload.path for upload in tracker.uploads.missing()]
    artifacts = [path for path in uploaded if path not in missing]
    return Recovered(run_path, num_uploaded + len(written), artifacts, missing, skipped)


def _error_without_a_key(run: LocalRun) -> ServerError:
    again = shlex.join(["tf-hfwb", "sync", *run.folders, *run.files])
    by_the_client = ""
    if all(map(_is_offline, run.folders)):
        by_the_client = f", or: {shlex.join(['wandb', 'sync', *run.folders])}"
    return ServerError(
        f"{run.folders[-1]} cannot be uploaded without a key, or with WANDB_MODE=offline. Expected a key: wandb login, "
        f"or WANDB_API_KEY. Then call: {again}{by_the_client}"
    )


def _is_complete_on_server(
    run: LocalRun, rows: Sequence[Mapping[str, Any]], logged: Sequence[artifact_journal.Entry]
) -> bool:
    """Whether the server has all rows, and the newest that was logged under each name."""
    held = rows_on_server(run.path)
    if held is None or any(unwritten_part(row, held.names) for row in rows):
        return False
    newest = {entry.name: entry.step for entry in logged}
    for name, step in newest.items():
        reference = ArtifactReference(run.facts.get("entity") or None, run.facts["project"], name)
        if step not in {version.metadata.get("global_step") for version in versions_of_run(reference, run.run_id)}:
            return False
    return True


def _log_missing(tracker: Tracker, rows: Sequence[Mapping[str, Any]], written: list[Mapping[str, Any]]) -> None:
    held = LoggedRows()
    held.merge(tracker.already_logged)
    for row in rows:
        rest = unwritten_part(row, held.names)
        if rest:
            tracker.log(rest)
            held.add(row)
            written.append(rest)


def _is_offline(folder: str) -> bool:
    return os.path.basename(folder).startswith("offline-")


def _is_synced(folder: str) -> bool:
    return bool(glob.glob(os.path.join(glob.escape(folder), "*.wandb.synced")))


def _upload_offline_folders(folders: Sequence[str]) -> int:
    """Leave offline folders to the client; one that it cannot read is passed over.

    Returns:
        How many rows it has uploaded.
    """
    num_rows = 0
    for folder in folders:
        if not _is_offline(folder) or _is_synced(folder):
            continue
        command = [sys.executable, "-m", "wandb", "sync", folder]
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if _is_synced(folder):
            num_rows += len(rows_in(folder))
        else:
            _logger.warning("wandb sync could not upload %s as it is: %s", folder, ended.stdout.strip()[-300:])
    return num_rows


def _logged_artifacts(run_id: str, places: Sequence[str]) -> list[artifact_journal.Entry]:
    """What a run logged on this machine, oldest first, as far as the directories are unchanged."""
    logged = [entry for place in places for entry in artifact_journal.entries(place) if entry.run_id == run_id]
    checkpoints = [entry for entry in logged if entry.type == MODEL_TYPE and entry.step is not None]
    return [entry for entry in checkpoints if artifact_journal.is_there(entry)]


def artifacts_logged_online(run_id: str, folder: str) -> list[artifact_journal.Entry]:
    """What a run logged on this machine while it was online, oldest first, as far as the directories are unchanged.

    Args:
        run_id: The run's id.
        folder: The folder of the client's run folders, with the journal.
    """
    return [entry for entry in _logged_artifacts(run_id, [folder]) if not entry.is_offline]


def upload_missing(
    tracker: Tracker,
    logged: Sequence[artifact_journal.Entry],
    done: Callable[[artifact_journal.Entry, Any], None] = lambda entry, artifact: None,
) -> tuple[list[str], list[str]]:
    """Upload what is newer than the newest version that the server has of the run.

    Nothing older: a version that is uploaded later would be the ``latest``.

    Args:
        tracker: The run, online.
        logged: What to compare with the server.
        done: Called with each entry when its directory is no longer needed; also with the client's artifact, or None,
            as ``then`` of ``log_directory``.

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
        last_of_step = {entry.step: entry for entry in named}
        for entry in named:
            if entry.step in there or last_of_step[entry.step] is not entry:
                done(entry, None)
            elif entry.step is None or entry.step < newest:
                skipped.append(entry.path)
                done(entry, None)
            else:
                paths.append(entry.path)
                _upload(tracker, entry, done)
    return paths, skipped


def _upload(
    tracker: Tracker, entry: artifact_journal.Entry, done: Callable[[artifact_journal.Entry, Any], None]
) -> None:
    inform("Uploading %s, which W&B does not have: %s", entry.name, entry.path)
    announced = tracker.uploads.announce(entry.name, entry.path)
    try:
        upload(tracker, announced, entry, functools.partial(done, entry))
    except Exception as error:
        announced.is_refused = True
        _logger.warning("%s could not be uploaded (%s: %s).", entry.path, type(error).__name__, error)
        done(entry, None)
