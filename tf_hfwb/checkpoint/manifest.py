"""A checkpoint on disk, as a reader sees it: the manifest, and what it says of the files.

Guarantees:

* A directory is a checkpoint when it holds ``manifest.json`` and every file named there has the size given there.
  :meth:`Checkpoint.verify` compares the digests too.
* Nothing outside of the directory is read, whatever the manifest says. Files that it does not name are ignored.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_hfwb.checkpoint import tensors as tensor_files
from tf_hfwb.checkpoint.pending import wait_for_writers
from tf_hfwb.errors import CorruptCheckpointError, NotACheckpointError

MANIFEST = "manifest.json"
FORMAT = "tf_hfwb-checkpoint"
VERSION = 1

# Called with a number of bytes that were written; may rest. True: somebody waits, so take all there is.
Pace = Callable[[int], bool | None]


@dataclass(frozen=True)
class FileEntry:
    """What the manifest says of a file.

    Attributes:
        size: In bytes.
        sha256: Its digest, hexadecimal.
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint.

    Attributes:
        path: Its directory.
        files: What it consists of; other files in the directory are none of its.
        version: The version of the format.
        sequence: Which of the saves into its output directory it was, from 1; 0 where nobody counted.
    """

    path: pathlib.Path
    files: Mapping[str, FileEntry]
    version: int = VERSION
    sequence: int = 0

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Open a directory, comparing the sizes of its files.

        Raises:
            NotACheckpointError: It does not exist or has no manifest.
            CorruptCheckpointError: The manifest cannot be understood, or a file is missing or has another size.
        """
        path = pathlib.Path(path)
        wait_for_writers(path.parent)
        try:
            text = (path / MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            there = "a directory without a manifest" if path.is_dir() else "no directory"
            raise NotACheckpointError(
                errno.ENOENT,
                f"{path} is no checkpoint: there is {there}. Expected a directory with {MANIFEST}, as a finished save "
                f"leaves it. Check the path.",
            ) from None
        except OSError as error:
            raise _unreadable(path / MANIFEST, error) from error
        checkpoint = cls(path, *_parsed(path / MANIFEST, text))
        for name, entry in checkpoint.files.items():
            size = os.path.getsize(path / name) if os.path.isfile(path / name) else None
            if size != entry.size:
                found = "the file is missing" if size is None else f"the file has {size}"
                raise CorruptCheckpointError(
                    f"{path / name} is damaged: the manifest gives it {entry.size} bytes, and {found}. Use another "
                    f"checkpoint, or copy this one again."
                )
        return checkpoint

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.name

    @property
    def step(self) -> int | None:
        """The step in its name; None if there is none."""
        return step_of(self.path)

    def verify(self) -> None:
        """Compare the digest of every file.

        Raises:
            CorruptCheckpointError: One differs.
        """
        for name, entry in self.files.items():
            try:
                found = digest_of_file(self.path / name)
            except OSError as error:
                raise _unreadable(self.path / name, error) from error
            if found != entry.sha256:
                raise CorruptCheckpointError(
                    f"{self.path / name} is damaged: its SHA-256 is {found}, and the manifest says {entry.sha256}. "
                    f"Use another checkpoint, or copy this one again."
                )

    def read_json(self, name: str) -> Any:
        """The contents of a JSON file.

        Raises:
            CorruptCheckpointError: It is missing or no JSON.
        """
        try:
            return json.loads((self.path / name).read_bytes())
        except (OSError, ValueError) as error:
            raise _unreadable(self.path / name, error) from error

    def read_tensors(self, name: str) -> dict[str, np.ndarray]:
        """The contents of a safetensors file.

        Raises:
            CorruptCheckpointError: It is missing or damaged.
        """
        return tensor_files.read_tensors(self.path / name)


def step_of(path: pathlib.Path) -> int | None:
    """The step of ``checkpoint-{step}``; None for other names."""
    match = re.fullmatch(r"checkpoint-(\d+)", path.name)
    return int(match[1]) if match else None


def digest_of_file(path: pathlib.Path, pace: Pace | None = None) -> str:
    """The SHA-256 of a file, hexadecimal."""
    sha = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(tensor_files.CHUNK):
            sha.update(chunk)
            if pace is not None:
                pace(len(chunk))
    return sha.hexdigest()


def _parsed(path: pathlib.Path, text: bytes) -> tuple[dict[str, FileEntry], int, int]:
    try:
        manifest = json.loads(text)
        version = manifest["version"]
        if manifest["format"] != FORMAT or not isinstance(version, int):
            raise ValueError(f"its format is {manifest['format']!r}, version {version!r}")
        if version <= VERSION:
            files = {
                name: FileEntry(int(entry["size"]), str(entry["sha256"])) for name, entry in manifest["files"].items()
            }
            for name in files:
                parts = pathlib.PurePosixPath(name).parts
                if not parts or ".." in parts or name.startswith("/") or "\\" in name:
                    raise ValueError(f"it names a file outside of its directory, {name!r}")
            return files, version, int(manifest.get("sequence", 0))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptCheckpointError(
            f"{path} is no manifest of a checkpoint: {error!r}. Expected the JSON that a save writes "
            f"last. Use another checkpoint."
        ) from error
    raise CorruptCheckpointError(
        f"{path} has version {version} of the format. Expected at most {VERSION}: a newer version of this package "
        f"wrote it. Upgrade the package."
    )


def _unreadable(path: pathlib.Path, error: Exception) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"{path} cannot be read: {error}. Expected the file that was written. Use another checkpoint, or copy this one "
        f"again."
    )
