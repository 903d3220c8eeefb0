"""Artifacts from the server into a cache on this machine.

Guarantees:

* A directory in the cache is whole: it gets its name when every file in it has the digest that W&B has for it.
* What was interrupted goes on: whole files are not fetched again, and a file goes on where it ended.
* An artifact whose directory is still on this machine, unchanged, is not downloaded at all.
* Several processes may ask for the same artifact; one downloads and the others wait.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import pathlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import filelock

from tf_hfwb.errors import ServerError
from tf_hfwb.tracking import journal
from tf_hfwb.tracking.server import asking, cache_folder

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
        ServerError: It could not be downloaded, or not as it was logged. What was downloaded is kept, and the next
            call goes on from there.
    """
    here = _logged_here(artifact, runs_folder)
    if here is not None:
        return here
    target = pathlib.Path(cache_folder()) / f"{_name(artifact)}-{artifact.digest}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{target}.lock"):
        partial = target.with_name(f"{target.name}.partial")
        if target.is_dir():
            entries = artifact.manifest.entries.items()
            if not _is_plain(artifact) or all(_is_whole(target / name, entry) for name, entry in entries):
                return target
            _logger.warning("%s is damaged; what is not as W&B has it is downloaded again.", target)
            target.rename(partial)
        with asking(f"Downloading {artifact.qualified_name} into {target}"):
            _download(artifact, partial)
        partial.rename(target)
    return target


def _name(artifact: Any) -> str:
    """The name under which it was logged, also when it was found by a link."""
    return str(artifact.source_name).split(":")[0]


def _is_plain(artifact: Any) -> bool:
    """Whether its files lie with W&B, under their MD5."""
    return artifact.digest_algorithm.name == "MANIFEST_MD5" and not any(
        entry.ref for entry in artifact.manifest.entries.values()
    )


def _logged_here(artifact: Any, runs_folder: str | os.PathLike[str]) -> pathlib.Path | None:
    """The directory from which the artifact was logged, if it is still that."""
    manifest = artifact.manifest.entries.get("manifest.json")
    if manifest is None:
        return None
    for entry in reversed(journal.entries(runs_folder)):
        if entry.name == _name(artifact) and journal.is_there(entry):
            path = pathlib.Path(entry.path)
            if _is_whole(path / "manifest.json", manifest):
                return path
    return None


def _download(artifact: Any, partial: pathlib.Path) -> None:
    from tqdm.auto import tqdm

    entries = artifact.manifest.entries
    if not _is_plain(artifact):
        artifact.download(str(partial))
        artifact.verify(str(partial))
        return
    urls = {file.name: file.direct_url for file in artifact.files(per_page=1000)}
    bar = tqdm(
        total=sum(entry.size or 0 for entry in entries.values()),
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
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_whole(path, entry):
        bar.update(entry.size or 0)
        return
    path.unlink(missing_ok=True)
    growing = path.with_name(f"{path.name}.part")
    url = urls[str(entry.path)]
    for attempt in range(_ATTEMPTS):
        try:
            _go_on(url, growing, entry.size or 0, bar)
            break
        except OSError:  # Of requests, too: the connection, or an address that is no longer valid.
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(2.0**attempt / 2)
            (file,) = artifact.files(names=[str(entry.path)])
            url = file.direct_url
    if not _is_whole(growing, entry):
        growing.unlink()
        raise ServerError(
            f"{entry.path} of {artifact.qualified_name} arrived damaged: expected {entry.size} bytes with the MD5 that "
            f"W&B has for it. It is fetched anew by the next call; if it happens again, take another version."
        )
    growing.rename(path)


def _go_on(url: str, path: pathlib.Path, size: int, bar: Any) -> None:
    """Append to the file what it lacks."""
    import requests

    there = path.stat().st_size if path.exists() else 0
    if there >= size > 0:
        there = 0
    headers = {"Range": f"bytes={there}-"} if there else {}
    with requests.get(url, headers=headers, stream=True, timeout=60) as answer:
        answer.raise_for_status()
        is_rest = answer.status_code == requests.codes.partial_content
        with open(path, "ab" if is_rest else "wb") as file:
            bar.update(there if is_rest else 0)
            for chunk in answer.iter_content(_CHUNK):
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
