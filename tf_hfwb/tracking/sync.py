"""What did not get to the server in time, brought there later.

``wandb sync`` is for offline runs, and takes each folder by itself: a run that went on has several. Of an online run it
would write the rows twice that had arrived, and the client's log of an online run does not name its artifacts: the
journal does. So here the offline folders are left to ``wandb sync``, in order, which marks what it has done. Then the
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
from dataclasses import dataclass, field
from typing import Any

from tf_hfwb.errors import ServerError, SettingError
from tf_hfwb.messages import inform
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import artifact_journal, rescue_file
from tf_hfwb.tracking.artifact_logging import upload
from tf_hfwb.tracking.artifact_names import ArtifactReference
from tf_hfwb.tracking.process_tracker import open_tracker
from tf_hfwb.tracking.run_history import STEP, Logged, rows_in, rows_on_server, run_folders, summary_of, unwritten
from tf_hfwb.tracking.tracker import Tracker
from tf_hfwb.tracking.wandb_server import TYPE, is_online, versions_of_run

_logger = logging.getLogger("tf_hfwb")

# That of a run whose log does not tell how it ended, as the client's own sync has it.
_UNKNOWN_END = 1


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


@dataclass
class LocalRun:
    """One run on this machine, which may have gone on several times.

    Attributes:
        run_id: Its id.
        folders: Its folders, oldest first.
        files: Files of rows that are elsewhere.
        facts: What the client tells of it, the newest last: ``project``, ``entity``, ``summary``, ``exit_code``, ...
    """

    run_id: str
    folders: list[str]
    files: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def find(cls, *paths: str | os.PathLike[str]) -> LocalRun:
        """The run of these folders, with all its other folders beside them.

        Args:
            *paths: One or more of the run's folders, and files of rows.

        Raises:
            OSError: A folder holds no run, or the client can read none of them.
            SettingError: They are of different runs.
        """
        real = [os.path.realpath(path) for path in paths]
        folders = [path for path in real if not os.path.isfile(path)]
        ids = {path: _run_id(path) for path in folders}
        if len(set(ids.values())) != 1:
            raise SettingError(
                "run",
                shlex.join(str(path) for path in paths),
                expected="the folders of one run",
                advice="Call it for each run by itself.",
            )
        run_id = ids[folders[0]]
        beside = [found for path in folders for found in run_folders(run_id, os.path.dirname(path))]
        run = cls(run_id, list(dict.fromkeys([*beside, *folders])), [path for path in real if os.path.isfile(path)])
        run.read_facts()
        return run

    def read_facts(self) -> None:
        """Read :attr:`facts` from the folders and files, oldest first.

        Raises:
            OSError: The client can read none of the folders.
        """
        summaries, error = {}, None
        for folder in self.folders:
            try:
                summaries[folder] = summary_of(folder)
            except OSError as found:  # The log of a process that was killed early, for example.
                error = found
        if not summaries and error is not None:
            raise error
        for folder, facts in summaries.items():
            rescued = rescue_file.read([os.path.join(folder, rescue_file.FILE)])
            summary = {**self.facts.get("summary", {}), **facts.get("summary", {}), **rescued.summary}
            config = {**self.facts.get("config", {}), **(facts.get("config") or {})}
            self.facts = {**self.facts, "start_time": facts.get("start_time"), **self.facts, **_but_its_start(facts)}
            self.facts |= {"summary": summary, "config": config, "exit_code": facts.get("exit_code")}
            if rescued.exit_code is not None:
                self.facts["exit_code"] = rescued.exit_code
        elsewhere = rescue_file.read(self.files)
        self.facts["summary"] |= elsewhere.summary
        if elsewhere.exit_code is not None:
            self.facts["exit_code"] = elsewhere.exit_code

    def rows(self) -> list[dict[str, Any]]:
        """All rows with a step, in order; those that are in several places, several times."""
        files = [*(os.path.join(folder, rescue_file.FILE) for folder in self.folders), *self.files]
        found = [row for folder in self.folders for row in rows_in(folder)]
        found += [row for row in rescue_file.read(files).rows if STEP in row]
        return sorted(map(_without_the_clients, found), key=lambda row: row[STEP])

    @property
    def path(self) -> str:
        """``entity/project/id``, or what is known of it."""
        return "/".join(filter(None, (self.facts.get("entity"), self.facts["project"], self.run_id)))


def _but_its_start(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != "start_time" and value not in ("", None)}


def _run_id(folder: str) -> str:
    files = glob.glob(os.path.join(glob.escape(folder), "run-*.wandb"))
    if not files:
        raise OSError(
            f"{folder} holds no run of W&B's client. Expected the folder of a run, such as wandb/run-DATE-ID."
        )
    return os.path.basename(files[0]).removeprefix("run-").removesuffix(".wandb")


def sync(*paths: str | os.PathLike[str]) -> Recovered:
    """Bring to the server what it lacks of a run, from the run's folders.

    Args:
        *paths: One or more folders of the run, such as ``wandb/run-20260401_101500-3xk9``, and files of rows that
            tf_hfwb has kept. Other folders of the run beside them are found.

    Raises:
        ServerError: There is no key, or the run cannot be opened online.
        OSError: A folder holds no run.
        SettingError: The folders are of different runs.
    """
    run = LocalRun.find(*paths)
    folders = run.folders
    settings = Settings.resolve(project=run.facts["project"])
    if not is_online():
        again = shlex.join(["tf-hfwb", "sync", *folders, *run.files])
        by_the_client = f", or: {shlex.join(['wandb', 'sync', *folders])}" if all(map(_is_offline, folders)) else ""
        raise ServerError(
            f"{folders[-1]} cannot be uploaded without a key, or with WANDB_MODE=offline. Expected a key: wandb login, "
            f"or WANDB_API_KEY. Then call: {again}{by_the_client}"
        )
    logged = _logged(run.run_id, sorted({os.path.dirname(folder) for folder in folders}))
    rows, uploaded_rows = run.rows(), _upload_offline(folders)
    held = rows_on_server(run.path) if all(map(_is_offline, folders)) else None
    if held is not None and not any(unwritten(row, held.names) for row in rows) and _are_there(run, logged):
        return Recovered(run.path, uploaded_rows, [], [], [])
    tracker = open_tracker(settings, run_id=run.run_id, entity=run.facts.get("entity") or None)
    if tracker.directory is None or tracker.is_offline:
        raise ServerError(f"The run of {folders[-1]} cannot be opened online; see above. Try again later.")
    path = str(tracker.run.path)
    written: list[Mapping[str, Any]] = []
    tracker.submit(_log_missing, tracker, rows, written)
    tracker.submit(tracker.summarize, _without_the_clients(run.facts["summary"]))
    uploaded, skipped = upload_missing(tracker, logged)
    tracker.flush()
    exit_code = run.facts["exit_code"]
    tracker.finish(_UNKNOWN_END if exit_code is None else exit_code)
    missing = [upload.path for upload in tracker.uploads.missing()]
    artifacts = [path for path in uploaded if path not in missing]
    return Recovered(path, uploaded_rows + len(written), artifacts, missing, skipped)


def _log_missing(tracker: Tracker, rows: Sequence[Mapping[str, Any]], written: list[Mapping[str, Any]]) -> None:
    held = Logged()
    held.merge(tracker.already_logged)
    for row in rows:
        rest = unwritten(row, held.names)
        if rest:
            tracker.log(rest)
            held.add(row)
            written.append(rest)


def _is_offline(folder: str) -> bool:
    return os.path.basename(folder).startswith("offline-")


def _is_synced(folder: str) -> bool:
    return bool(glob.glob(os.path.join(glob.escape(folder), "*.wandb.synced")))


def _upload_offline(folders: Sequence[str]) -> int:
    """Leave offline folders to the client; how many rows it has uploaded. One that it cannot read is passed over."""
    rows = 0
    for folder in folders:
        if not _is_offline(folder) or _is_synced(folder):
            continue
        command = [sys.executable, "-m", "wandb", "sync", folder]
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if _is_synced(folder):
            rows += len(rows_in(folder))
        else:
            _logger.warning("wandb sync could not upload %s as it is: %s", folder, ended.stdout.strip()[-300:])
    return rows


def _logged(run_id: str, places: Sequence[str]) -> list[artifact_journal.Entry]:
    """What a run logged on this machine, oldest first, as far as the directories are still there."""
    logged = [entry for place in places for entry in artifact_journal.entries(place) if entry.run_id == run_id]
    return [
        entry for entry in logged if entry.type == TYPE and entry.step is not None and artifact_journal.is_there(entry)
    ]


def _are_there(run: LocalRun, logged: Sequence[artifact_journal.Entry]) -> bool:
    """Whether the server has the newest that was logged under each name."""
    newest = {entry.name: entry.step for entry in logged}
    for name, step in newest.items():
        reference = ArtifactReference(run.facts.get("entity") or None, run.facts["project"], name)
        if step not in {version.metadata.get("global_step") for version in versions_of_run(reference, run.run_id)}:
            return False
    return True


def _without_the_clients(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the client's own columns, and without tables: they would be links to artifacts that are not there."""
    return {name: value for name, value in values.items() if name[0] != "_" and not isinstance(value, Mapping)}


def logged_online(run_id: str, folder: str) -> list[artifact_journal.Entry]:
    """What a run logged on this machine while it was online, oldest first, as far as the directories are still there.

    Args:
        run_id: The run's id.
        folder: The folder of the client's run folders, with the journal.
    """
    return [entry for entry in _logged(run_id, [folder]) if not entry.is_offline]


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
