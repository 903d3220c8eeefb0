"""Artifacts from the server into a cache on this machine.

Guarantees:

* Nothing is written outside of the artifact's own directory, whatever its manifest says, whatever the server sends and
  whatever is found in the cache: see :mod:`tf_hfwb.tracking.artifact_contents` and
  :mod:`tf_hfwb.tracking.private_folder`.
* A directory in the cache is whole: it gets its name when every file in it has the digest that W&B has for it, and it
  is used again only if that is still so and nothing else is in it.
* What was interrupted goes on: whole files are not fetched again, and a file goes on where it ended.
* An artifact whose directory is still on this machine, unchanged, is not downloaded at all.
* Several processes may ask for the same artifact; one downloads and the others wait.
* The signed addresses of files are in no message.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import pathlib
import re
import shutil
import time
import urllib.parse
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import filelock

from tf_hfwb.errors import ServerError, UnsafeArtifactError
from tf_hfwb.tracking import artifact_journal
from tf_hfwb.tracking.artifact_contents import PART, checked_entries, folder_name
from tf_hfwb.tracking.private_folder import is_exactly, private_folder, remove_others
from tf_hfwb.tracking.wandb_server import asking, cache_folder

_AT_ONCE = 4  # Files.
_ATTEMPTS = 5
_CHUNK = 1 << 20
_PATIENCE = 2.0  # Seconds without a progress bar.

_logger = logging.getLogger("tf_hfwb")


def fetch(artifact: Any, runs_folder: str | os.PathLike[str]) -> pathlib.Path:
    """The directory of an artifact on this machine, downloaded if need be.

    Args:
        artifact: The client's artifact.
        runs_folder: The folder of the client's run folders, with the journal of what was logged here.

    Raises:
        UnsafeArtifactError: Its files would be written, or be read, where they must not.
        ServerError: It could not be downloaded, or not as it was logged. What was downloaded is kept, and the next
            call goes on from there.
    """
    entries = checked_entries(artifact)
    here = _logged_here(artifact, entries, runs_folder)
    if here is not None:
        return here
    target = private_folder(cache_folder()) / folder_name(artifact)
    with asking(f"Downloading {artifact.qualified_name} into {target}"):
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


def _is_plain(artifact: Any, entries: Mapping[str, Any]) -> bool:
    """Whether its files lie with W&B, under their MD5."""
    return artifact.digest_algorithm.name == "MANIFEST_MD5" and not any(entry.ref for entry in entries.values())


def _is_as_logged(directory: pathlib.Path, artifact: Any, entries: Mapping[str, Any]) -> bool:
    """Whether a directory holds the artifact's files, all of them and nothing else."""
    if not is_exactly(directory, entries):
        return False
    if _is_plain(artifact, entries):
        return all(_is_whole(directory / name, entry) for name, entry in entries.items())
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
        if _is_whole(path / "manifest.json", manifest) and _is_as_logged(path, artifact, entries):
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

    if not _is_plain(artifact, entries):
        artifact.download(str(partial))
        artifact.verify(str(partial))
        return
    urls = {file.name: file.direct_url for file in artifact.files(per_page=1000)}
    bar = tqdm(
        total=sum(entry.size for entry in entries.values()),
        unit="B",
        unit_scale=True,
        desc=f"Downloading {artifact.name}",
        delay=_PATIENCE,
    )
    with bar, ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [pool.submit(_file, urls, artifact, entry, partial / name, bar) for name, entry in entries.items()]
        for job in jobs:
            job.result()


def _file(urls: dict[str, str], artifact: Any, entry: Any, path: pathlib.Path, bar: Any) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_whole(path, entry):
        bar.update(entry.size)
        return
    path.unlink(missing_ok=True)
    growing = path.with_name(f"{path.name}{PART}")
    url = urls[str(entry.path)]
    for attempt in range(_ATTEMPTS):
        try:
            _go_on(url, growing, entry, bar)
            break
        except OSError as error:  # Of requests, too: the connection, or an address that is no longer valid.
            if attempt == _ATTEMPTS - 1:
                # Without the error itself, whose text and traceback hold the address.
                raise ServerError(
                    f"{entry.path!r} of {artifact.qualified_name} could not be downloaded ({_told(error)}). Expected "
                    f"{entry.size} bytes. What has come is kept; try again."
                ) from None
            time.sleep(2.0**attempt / 2)
            (file,) = artifact.files(names=[str(entry.path)])
            url = file.direct_url
    if not _is_whole(growing, entry):
        growing.unlink()
        raise ServerError(
            f"{entry.path!r} of {artifact.qualified_name} arrived damaged: expected {entry.size} bytes with the MD5 "
            f"that W&B has for it. It is fetched anew by the next call; if it happens again, take another version."
        )
    growing.rename(path)


def _told(error: OSError) -> str:
    return re.sub(r"\?[^\s'\")]*", "?...", f"{type(error).__name__}: {error}")


def _go_on(url: str, path: pathlib.Path, entry: Any, bar: Any) -> None:
    """Append to the file what it lacks.

    Raises:
        UnsafeArtifactError: More came than was announced.
        OSError: The connection broke, or not what was asked for came.
    """
    import requests

    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UnsafeArtifactError(
            f"The server says that {entry.path!r} lies at an address which is none of the web. Expected https. Nothing "
            "was read. Ask who runs the server."
        )
    there = path.stat().st_size if path.exists() else 0
    if there >= entry.size:
        there = 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={there}-"} if there else {})}
    with requests.get(url, headers=headers, stream=True, timeout=60) as answer:
        answer.raise_for_status()
        is_rest = answer.status_code == requests.codes.partial_content
        if is_rest and not (there and answer.headers.get("Content-Range", "").startswith(f"bytes {there}-")):
            path.unlink(missing_ok=True)  # The next attempt asks for all of it.
            raise OSError("another part than was asked for came")
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise OSError("it came compressed, though it was asked for as it is")
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        flags |= os.O_APPEND if is_rest else os.O_TRUNC
        with open(os.open(path, flags, 0o600), "wb") as file:
            written = there if is_rest else 0
            bar.update(written)
            for chunk in answer.iter_content(_CHUNK):
                written += len(chunk)
                if written > entry.size:
                    raise UnsafeArtifactError(
                        f"More came of {entry.path!r} than the {entry.size} bytes that the artifact's manifest says. "
                        "Expected no more. The rest was not read; ask who logged it, or take another version."
                    )
                file.write(chunk)
                bar.update(len(chunk))


def _is_whole(path: pathlib.Path, entry: Any) -> bool:
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    md5 = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            md5.update(chunk)
    return base64.b64encode(md5.digest()).decode() == entry.digest
