"""One file of an artifact from the server: in several attempts, and checked."""

from __future__ import annotations

import base64
import hashlib
import os
import pathlib
import re
import time
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from tf_hfwb.errors import ServerError, UnsafeArtifactError
from tf_hfwb.tracking.artifact_contents import PART

_NUM_ATTEMPTS = 5
_CHUNK_BYTES = 1 << 20


def download_file(urls: Mapping[str, str], artifact: Any, entry: Any, path: pathlib.Path, bar: Any) -> None:
    """Download a file unless it is there already, and continue where an earlier download ended.

    Args:
        urls: The signed address of each file by its name.
        artifact: The client's artifact, which gives another address when one is no longer valid.
        entry: The file's entry in the artifact's manifest.
        path: Where it is to be.
        bar: The progress bar, in bytes.

    Raises:
        UnsafeArtifactError: More bytes came than the manifest announces, or the address is not one of the web.
        ServerError: The file could not be downloaded, or arrived damaged.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_whole(path, entry):
        bar.update(entry.size)
        return
    path.unlink(missing_ok=True)
    growing = path.with_name(f"{path.name}{PART}")
    url = urls[str(entry.path)]
    for attempt in range(_NUM_ATTEMPTS):
        try:
            _append_rest(url, growing, entry, bar)
            break
        except OSError as error:  # Of requests, too: the connection, or an address that is no longer valid.
            if attempt == _NUM_ATTEMPTS - 1:
                # Without the error itself, whose text and traceback hold the address.
                raise ServerError(
                    f"{entry.path!r} of {artifact.qualified_name} could not be downloaded ({_describe(error)}). "
                    f"Expected {entry.size} bytes. What has come is kept; try again."
                ) from None
            time.sleep(2.0**attempt / 2)
            (file,) = artifact.files(names=[str(entry.path)])
            url = file.direct_url
    if not is_whole(growing, entry):
        growing.unlink()
        raise ServerError(
            f"{entry.path!r} of {artifact.qualified_name} arrived damaged: expected {entry.size} bytes with the MD5 "
            f"that W&B has for it. It is fetched anew by the next call; if it happens again, take another version."
        )
    growing.rename(path)


def _describe(error: OSError) -> str:
    return re.sub(r"\?[^\s'\")]*", "?...", f"{type(error).__name__}: {error}")


def _append_rest(url: str, path: pathlib.Path, entry: Any, bar: Any) -> None:
    """Append to a file the bytes that it lacks.

    Raises:
        UnsafeArtifactError: More bytes came than the manifest announces, or the address is not one of the web.
        OSError: The connection broke, or the answer is not the part that was requested.
    """
    import requests

    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UnsafeArtifactError(
            f"The server says that {entry.path!r} lies at an address which is none of the web. Expected https. Nothing "
            "was read. Ask who runs the server."
        )
    held = path.stat().st_size if path.exists() else 0
    if held >= entry.size:
        held = 0
    headers = {"Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={held}-"
    with requests.get(url, headers=headers, stream=True, timeout=60) as answer:
        answer.raise_for_status()
        is_rest = answer.status_code == requests.codes.partial_content
        if is_rest and not (held and answer.headers.get("Content-Range", "").startswith(f"bytes {held}-")):
            path.unlink(missing_ok=True)  # The next attempt asks for all of it.
            raise OSError("another part than was asked for came")
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise OSError("it came compressed, though it was asked for as it is")
        _write_chunks(answer.iter_content(_CHUNK_BYTES), path, held if is_rest else 0, entry, bar)


def _write_chunks(chunks: Iterable[bytes], path: pathlib.Path, held: int, entry: Any, bar: Any) -> None:
    """Write chunks after the bytes that the file holds, and not more than the manifest announces."""
    # Never through a link that somebody may have put there.
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    flags |= os.O_APPEND if held else os.O_TRUNC
    with open(os.open(path, flags, 0o600), "wb") as file:
        written = held
        bar.update(written)
        for chunk in chunks:
            written += len(chunk)
            if written > entry.size:
                raise UnsafeArtifactError(
                    f"More came of {entry.path!r} than the {entry.size} bytes that the artifact's manifest says. "
                    "Expected no more. The rest was not read; ask who logged it, or take another version."
                )
            file.write(chunk)
            bar.update(len(chunk))


def is_whole(path: pathlib.Path, entry: Any) -> bool:
    """Whether a file has the size and the MD5 that the manifest's entry says."""
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    md5 = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            md5.update(chunk)
    return base64.b64encode(md5.digest()).decode() == entry.digest
