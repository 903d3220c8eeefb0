"""``find_runs``: which runs somebody means."""

from __future__ import annotations

import concurrent.futures
import logging
import os
import re
from collections.abc import Iterator, Sequence

from tf_hfwb.errors import SettingError
from tf_hfwb.run_records.local_record import RunFolder, local_record
from tf_hfwb.run_records.run_record import RunRecord
from tf_hfwb.run_records.server_record import server_record
from tf_hfwb.tracking.run_history import run_folders
from tf_hfwb.tracking.run_log import log_of

_ONLINE = re.compile(r"(?:https?://[^?#]+?/)?([^/?#\s]+)/([^/?#\s]+)/(?:runs/)?([^/?#\s]+)(?:[?#].*)?")
_FOLDER = re.compile(r"offline-run-.+|run-\d{8}_\d{6}-.+|.+\.wandb")  # What the client calls its folders and logs.
_THREADS = 8  # That wait for the client's program.

_logger = logging.getLogger("tf_hfwb")


def find_runs(sources: Sequence[str]) -> list[RunRecord]:
    """The runs that these words mean, in their order, each once; those of a directory by the time of their start.

    Args:
        sources: Each is a run's folder (with the others of the same run that lie beside it), a ``.wandb`` file, a
            directory below which there are run folders, or, for a run on the server, ``entity/project/run_id`` or the
            address of its page. What can only be a path, such as ``./wandb/run``, is never looked for on the server.

    Raises:
        SettingError: There is no run at a place, or no such run.
        ServerError: The server could not be asked.

    Example:
        >>> import wandb
        >>> with wandb.init(mode="offline", name="first") as logged:
        ...     logged.log({"train/loss": 0.5})
        >>> [run.name for run in find_runs(["wandb"])]
        ['first']
    """
    found: list[RunRecord] = []
    for source in sources:
        path = os.path.expanduser(source)
        found += _local_runs(path) if os.path.exists(path) else [_server_run(source)]
    unique = {(run.url, run.folders): run for run in found}
    return list(unique.values())


def _server_run(source: str) -> RunRecord:
    match = None if _is_path(source) else _ONLINE.fullmatch(source)
    if match is None:
        raise SettingError(
            "run",
            source,
            expected="the folder of a run, such as wandb/offline-run-DATE-ID, a directory with runs in it, or "
            "entity/project/run_id for a run on W&B",
            advice="Call it where the run was started, or name its folder. Of a run on W&B the address of its page is "
            "never taken for a path.",
        )
    return server_record("/".join(match.groups()))


def _is_path(source: str) -> bool:
    """Whether it can only be a path that is not there, or lies in a directory that is."""
    parent, name = os.path.split(source.rstrip(os.sep))
    is_address = "://" in source
    return not is_address and bool(
        source.startswith((".", "~", os.sep)) or os.path.isdir(parent) or _FOLDER.fullmatch(name)
    )


def _local_runs(source: str) -> list[RunRecord]:
    paths = [*_folders(os.path.realpath(source))]
    if not paths:
        raise SettingError(
            "run",
            source,
            expected="the folder of a run, or a directory with run folders in or below it",
            advice="Name the folder wandb where the run was started, or one in it.",
        )
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        folders = [folder for folder in threads.map(_read, paths) if folder is not None]
    runs: dict[tuple[str, str], list[RunFolder]] = {}
    projects = {folder.key[0]: folder.key[1] for folder in folders if folder.key[1]}
    for folder in folders:
        run_id, project = folder.key
        runs.setdefault((run_id, project or projects.get(run_id, "")), []).append(folder)
    if not runs:
        raise SettingError(
            "run", source, expected="a run whose log can be read", advice="See the warnings above for why it cannot."
        )
    return sorted(map(local_record, runs.values()), key=lambda run: (run.started or 0.0, run.folders))


def _folders(path: str) -> Iterator[str]:
    """The run folders that a file or directory means."""
    if path.endswith(".wandb") and os.path.isfile(path):
        path = os.path.dirname(path)
    if log_of(path) is None:
        yield from _folders_below(path)
        return
    run_id = os.path.basename(log_of(path) or "").removeprefix("run-").removesuffix(".wandb")
    yield from run_folders(run_id, os.path.dirname(path)) or [path]


def _folders_below(path: str) -> Iterator[str]:
    """All run folders below a directory; links, hidden folders and what is in run folders are not followed."""
    for directory, names, _ in os.walk(path):
        runs = [name for name in names if "run-" in name and log_of(os.path.join(directory, name)) is not None]
        yield from (os.path.join(directory, name) for name in sorted(runs) if not _is_link(directory, name))
        names[:] = sorted(name for name in names if name not in runs and not name.startswith("."))


def _is_link(directory: str, name: str) -> bool:
    return os.path.islink(os.path.join(directory, name))


def _read(path: str) -> RunFolder | None:
    try:
        return RunFolder.read(path)
    except OSError as error:
        _logger.warning("A folder is passed over: %s", error)
        return None
