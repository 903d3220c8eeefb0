"""Artifacts from the server into a cache on this machine.

Guarantees:

* Nothing is written outside of the artifact's own directory, whatever its manifest says, whatever the server sends and
  whatever is found in the cache: see :mod:`tf_hfwb.tracking.artifact_contents` and
  :mod:`tf_hfwb.tracking.private_folder`.
* A directory in the cache is whole: it gets its name when every file in it has the digest that W&B has for it, and it
  is used again only if that is still so and nothing else is in it.
* A download that was interrupted is continued: whole files are not fetched again, and a file continues where it ended.
* An artifact whose directory is still on this machine, unchanged, is not downloaded at all.
* Several processes may ask for the same artifact; one downloads and the others wait.
* The signed addresses of files are in no message.
"""

from __future__ import annotations

import logging
import os
import pathlib
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import filelock

from tf_hfwb.errors import ServerError
from tf_hfwb.tracking import artifact_journal
from tf_hfwb.tracking.artifact_contents import PART, check_entries, folder_name
from tf_hfwb.tracking.file_download import download_file, is_whole
from tf_hfwb.tracking.private_folder import is_exactly, private_folder, remove_others
from tf_hfwb.tracking.wandb_server import cache_folder, server_request

_NUM_PARALLEL_FILES = 4
_BAR_DELAY_SECS = 2.0

_logger = logging.getLogger("tf_hfwb")


def fetch(artifact: Any, runs_folder: str | os.PathLike[str]) -> pathlib.Path:
    """The directory of an artifact on this machine, downloaded if need be.

    Args:
        artifact: The client's artifact.
        runs_folder: The folder of the client's run folders, with the journal of what was logged here.

    Raises:
        UnsafeArtifactError: Its files would be written, or be read, where they must not.
        ServerError: It could not be downloaded, or not as it was logged. What was downloaded is kept, and the next
            call continues from there.
    """
    entries = check_entries(artifact)
    here = _logged_here(artifact, entries, runs_folder)
    if here is not None:
        return here
    target = private_folder(cache_folder()) / folder_name(artifact)
    with server_request(f"Downloading {artifact.qualified_name} into {target}"):
        lock = target.with_name(f"{target.name}.lock")
        if lock.is_symlink() or (lock.exists() and lock.stat().st_nlink > 1):
            lock.unlink()  # Taking the lock would empty the file that it leads to.
        with filelock.FileLock(lock):
            partial = target.with_name(f"{target.name}.partial")
            if target.is_symlink() or target.exists():
                if _is_as_logged(target, artifact, entries):
                    return target
                _logger.warning("%s is damaged; what is not as W&B has it is downloaded again.", target)
                target.rename(partial)
            remove_others(partial, entries, PART)
            _check_space(artifact, entries, partial)
            partial.mkdir(mode=0o700, exist_ok=True)
            _download(artifact, entries, partial)
            partial.rename(target)
    return target


def _is_stored_by_wandb(artifact: Any, entries: Mapping[str, Any]) -> bool:
    """Whether W&B stores its files, under their MD5."""
    return artifact.digest_algorithm.name == "MANIFEST_MD5" and not any(entry.ref for entry in entries.values())


def _is_as_logged(directory: pathlib.Path, artifact: Any, entries: Mapping[str, Any]) -> bool:
    """Whether a directory holds the artifact's files, all of them and nothing else."""
    if not is_exactly(directory, entries):
        return False
    if _is_stored_by_wandb(artifact, entries):
        return all(is_whole(directory / name, entry) for name, entry in entries.items())
    try:
        artifact.verify(str(directory))
    except ValueError:
        return False
    return True


def _logged_here(artifact: Any, entries: Mapping[str, Any], runs_folder: str | os.PathLike[str]) -> pathlib.Path | None:
    """The directory from which the artifact was logged, if it is still that."""
    name, manifest = str(artifact.source_name).split(":")[0], entries.get("manifest.json")
    tried = set()
    for entry in reversed(artifact_journal.entries(runs_folder)):
        path = pathlib.Path(entry.path)
        if manifest is None or entry.name != name or path in tried or not artifact_journal.is_there(entry):
            continue
        tried.add(path)
        # The small file first: most directories are another version's.
        if is_whole(path / "manifest.json", manifest) and _is_as_logged(path, artifact, entries):
            return path
    return None


def _check_space(artifact: Any, entries: Mapping[str, Any], partial: pathlib.Path) -> None:
    there = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    needed = sum(entry.size or 0 for entry in entries.values()) - there
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        raise ServerError(
            f"{artifact.qualified_name} is not downloaded: it takes {needed} bytes, and of the disk with "
            f"{partial.parent} {free} are free. Expected room for it. Make some, or set WANDB_CACHE_DIR."
        )


def _download(artifact: Any, entries: Mapping[str, Any], partial: pathlib.Path) -> None:
    from tqdm.auto import tqdm

    if not _is_stored_by_wandb(artifact, entries):
        artifact.download(str(partial))
        artifact.verify(str(partial))
        return
    urls = {file.name: file.direct_url for file in artifact.files(per_page=1000)}
    bar = tqdm(
        total=sum(entry.size for entry in entries.values()),
        unit="B",
        unit_scale=True,
        desc=f"Downloading {artifact.name}",
        delay=_BAR_DELAY_SECS,
    )
    with bar, ThreadPoolExecutor(_NUM_PARALLEL_FILES) as pool:
        jobs = [
            pool.submit(download_file, urls, artifact, entry, partial / name, bar) for name, entry in entries.items()
        ]
        for job in jobs:
            job.result()
