"""A checkpoint on disk, as a reader sees it: the manifest, and what it says of the files.

Guarantees:

* A directory is a checkpoint when it holds ``manifest.json``, which agrees with the digest of itself in it, and every
  file named there has the size given there, but for those that are not needed. :meth:`Checkpoint.verify` compares the
  digests of the files, too.
* Nothing outside the directory is read, whatever the manifest says, and no link within it is followed. Files that the
  manifest does not name are ignored.
* A checkpoint that another process removes while it is read is reported as gone, not as damaged.
"""

from __future__ import annotations

import errno
import io
import json
import os
import pathlib
import re
import reprlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_hfwb.checkpoint import safetensors_files as tensor_files
from tf_hfwb.checkpoint.digests import digest_of_file, sha256_of
from tf_hfwb.checkpoint.pending_writes import wait_for_writers
from tf_hfwb.checkpoint.regular_files import open_regular, size_of
from tf_hfwb.checkpoint.step_names import step_of
from tf_hfwb.checkpoint.temporary_names import is_being_replaced
from tf_hfwb.errors import CheckpointError, CorruptCheckpointError, NotACheckpointError
from tf_hfwb.validation.relative_paths import check_paths

MANIFEST = "manifest.json"
FORMAT = "tf_hfwb-checkpoint"
VERSION = 1
LARGEST_MANIFEST = 16 << 20  # Bytes; enough for 100,000 files.

# How often a reader looks again beside a process that saves, and the seconds between.
LOOKS = 50
PAUSE = 0.01


@dataclass(frozen=True)
class FileEntry:
    """What the manifest says of a file.

    Attributes:
        size: In bytes.
        sha256: Its digest, hexadecimal.
        is_needed: Whether the checkpoint is damaged without it. What is not needed is checked by who reads it.
    """

    size: int
    sha256: str
    is_needed: bool = True

    @property
    def in_manifest(self) -> dict[str, Any]:
        """What the manifest says of the file."""
        return {"size": self.size, "sha256": self.sha256, **({} if self.is_needed else {"needed": False})}


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint.

    Attributes:
        path: Its directory.
        files: The files that belong to it; other files in the directory do not.
        version: The version of the format.
        sequence: The number of its save into its output directory, from 1; 0 in checkpoints without one.
        digest: The SHA-256 of its ``manifest.json``, by which it can be told from any other checkpoint.
    """

    path: pathlib.Path
    files: Mapping[str, FileEntry]
    version: int = VERSION
    sequence: int = 0
    digest: str = ""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Open a directory, comparing the sizes of its files.

        Raises:
            NotACheckpointError: It does not exist or has no manifest.
            CorruptCheckpointError: The manifest cannot be understood, or a file is missing, is not a regular file or
                has another size.
        """
        path = pathlib.Path(path)
        for _ in range(LOOKS):
            try:
                checkpoint = cls.read_manifest(path)
                checkpoint.check_sizes()
                return checkpoint
            except NotACheckpointError as error:
                problem: CheckpointError = error
                is_between = is_being_replaced(path)
                if not is_between and not (path / MANIFEST).exists():  # In this order, as it may have come meanwhile.
                    break
                time.sleep(PAUSE * is_between)
            except CorruptCheckpointError as error:
                problem = error
                break
        raise problem

    @classmethod
    def read_manifest(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Read the manifest of a directory, without a look at the files.

        Raises:
            NotACheckpointError: It does not exist or has no manifest.
            CorruptCheckpointError: The manifest cannot be understood.
        """
        path = pathlib.Path(path)
        wait_for_writers(path.parent)
        try:
            with open_regular(path, MANIFEST) as file:
                text = io.BufferedReader(file).read(LARGEST_MANIFEST + 1)
        except (FileNotFoundError, NotADirectoryError):
            there = "a directory without a manifest" if path.is_dir() else "no directory"
            raise NotACheckpointError(
                errno.ENOENT,
                f"{path} is no checkpoint: there is {there}. Expected a directory with {MANIFEST}, as a finished save "
                f"leaves it. Check the path.",
            ) from None
        except OSError as error:
            raise _unreadable(path / MANIFEST, error) from error
        return cls(path, *_parse(path / MANIFEST, text), digest=sha256_of(text))

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.name

    @property
    def step(self) -> int | None:
        """The step in its name; None if there is none."""
        return step_of(self.path)

    def is_there(self) -> bool:
        """Whether the directory still has the same manifest: another process may have removed or replaced it."""
        try:
            return Checkpoint.read_manifest(self.path).digest == self.digest
        except CheckpointError:
            return False

    def check_sizes(self) -> None:
        """Compare the size of every file that is needed.

        Raises:
            CorruptCheckpointError: One is missing, is not a regular file or has another size.
            NotACheckpointError: The checkpoint has been removed meanwhile.
        """
        for name, entry in self._needed_files():
            size = None
            try:
                size = size_of(self.path, name)
                found = f"the file has {size}"
            except FileNotFoundError:
                found = "the file is missing"
            except OSError as error:
                found = error.strerror or str(error)
            if size != entry.size:
                raise self._damage(name, _describe_sizes(entry, found))

    def verify(self) -> None:
        """Compare the digest of every file that is needed.

        Raises:
            CorruptCheckpointError: One differs.
            NotACheckpointError: The checkpoint has been removed meanwhile.
        """
        for name, entry in self._needed_files():
            try:
                with self.open_file(name) as file:
                    found = digest_of_file(file)[1]
            except OSError as error:
                raise self._problem(name, error) from error
            if found != entry.sha256:
                raise self._damage(name, f"its SHA-256 is {found}, and the manifest says {entry.sha256}")

    def _needed_files(self) -> list[tuple[str, FileEntry]]:
        return [(name, entry) for name, entry in self.files.items() if entry.is_needed]

    def open_file(self, name: str) -> io.FileIO:
        """Open one of its files, unbuffered.

        Raises:
            CorruptCheckpointError: It is missing, is not a regular file or has another size.
            NotACheckpointError: The checkpoint has been removed meanwhile.
        """
        try:
            file = open_regular(self.path, name)
        except OSError as error:
            raise self._problem(name, error) from error
        size = os.fstat(file.fileno()).st_size
        if size != self.files[name].size:
            file.close()
            raise self._damage(name, _describe_sizes(self.files[name], f"the file has {size}"))
        return file

    def read_json(self, name: str) -> Any:
        """The contents of a JSON file.

        Raises:
            CorruptCheckpointError: It is missing, or not JSON.
            NotACheckpointError: The checkpoint has been removed meanwhile.
        """
        try:
            with open_regular(self.path, name) as file:
                return json.loads(file.readall())
        except (OSError, ValueError, RecursionError) as error:
            raise self._problem(name, error) from error

    def read_tensors(self, name: str) -> dict[str, np.ndarray]:
        """The contents of a safetensors file.

        Raises:
            CorruptCheckpointError: It is missing or damaged.
            NotACheckpointError: The checkpoint has been removed meanwhile.
        """
        try:
            size_of(self.path, name)
            return tensor_files.read_tensors(self.path / name)
        except (OSError, CorruptCheckpointError) as error:
            raise self._problem(name, error) from error

    def _damage(self, name: str, how: str) -> CheckpointError:
        return self._problem(
            name,
            CorruptCheckpointError(
                f"{self.path / name} is damaged: {how}. Use another checkpoint, or copy this one again."
            ),
        )

    def _problem(self, name: str, error: Exception) -> CheckpointError:
        """The error for a file: something is wrong with it, or the whole checkpoint is no longer there."""
        if not self.is_there():
            return NotACheckpointError(
                errno.ENOENT,
                f"{self.path} has gone: it was removed or replaced while it was read. Expected it to stay; a training "
                f"that saves there removes older ones. Look for the newest one again, or wait until that one ends.",
            )
        if isinstance(error, CheckpointError):
            return error
        return _unreadable(self.path / name, error)


def manifest_of(files: Mapping[str, FileEntry], sequence: int) -> bytes:
    """The manifest of a checkpoint that consists of these files.

    Raises:
        ValueError: A reader would refuse it.
    """
    check_paths([MANIFEST, *files])
    contents: dict[str, Any] = {"format": FORMAT, "version": VERSION, "sequence": sequence, "digest": ""}
    contents["files"] = {name: entry.in_manifest for name, entry in sorted(files.items())}
    contents["digest"] = _digest_of(contents)
    text = (json.dumps(contents, indent=2) + "\n").encode()
    if len(text) > LARGEST_MANIFEST:
        raise ValueError(f"it names {len(files)} files, and has {len(text)} bytes of {LARGEST_MANIFEST}")
    return text


def _digest_of(contents: Mapping[str, Any]) -> str:
    """The digest that a manifest holds: of everything else in it, as JSON in one canonical form."""
    others = {key: value for key, value in contents.items() if key != "digest"}
    return sha256_of(json.dumps(others, sort_keys=True, separators=(",", ":")).encode())


def _parse(path: pathlib.Path, text: bytes) -> tuple[dict[str, FileEntry], int, int]:
    try:
        if len(text) > LARGEST_MANIFEST:
            raise ValueError(f"it has more than {LARGEST_MANIFEST} bytes")
        manifest = json.loads(text.decode())
        version = manifest["version"]
        if manifest["format"] != FORMAT or type(version) is not int or version < 1:
            raise ValueError(f"its format is {reprlib.repr(manifest['format'])}, version {reprlib.repr(version)}")
        # Checkpoints of earlier releases have no digest. It is compared before the version, which may be damaged, too.
        if "digest" in manifest and manifest["digest"] != _digest_of(manifest):
            raise ValueError("it is not what was written: it does not agree with its own digest")
        if version <= VERSION:
            files = {name: _parse_entry(name, entry) for name, entry in manifest["files"].items()}
            check_paths([MANIFEST, *files])
            return files, version, _whole_number("sequence", manifest.get("sequence", 0))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found = error if isinstance(error, ValueError) else repr(error)
        raise CorruptCheckpointError(
            f"{path} is no manifest of a checkpoint: {found}. Expected the JSON that a save writes last. Use another "
            f"checkpoint."
        ) from error
    raise CorruptCheckpointError(
        f"{path} has version {version} of the format. Expected at most {VERSION}: a newer version of this package "
        f"wrote it. Upgrade the package."
    )


def _describe_sizes(entry: FileEntry, found: str) -> str:
    return f"the manifest gives it {entry.size} bytes, and {found}"


def _parse_entry(name: str, entry: Mapping[str, Any]) -> FileEntry:
    sha256 = entry["sha256"]
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"the SHA-256 of {reprlib.repr(name)} is {reprlib.repr(sha256)}")
    is_needed = entry.get("needed", True)
    if not isinstance(is_needed, bool):
        raise ValueError(f"whether {reprlib.repr(name)} is needed is {reprlib.repr(is_needed)}")
    return FileEntry(_whole_number(f"size of {reprlib.repr(name)}", entry["size"]), sha256, is_needed)


def _whole_number(what: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"the {what} is {reprlib.repr(value)}")
    return value


def _unreadable(path: pathlib.Path, error: Exception) -> CorruptCheckpointError:
    found = "the file is missing" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or error
    return CorruptCheckpointError(
        f"{path} cannot be read: {found}. Expected the file that was written. Use another checkpoint, or copy this one "
        f"again."
    )
