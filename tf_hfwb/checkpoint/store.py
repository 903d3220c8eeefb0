"""Checkpoints in a directory: written so that whatever kills the process leaves whole ones only.

Guarantees:

* A checkpoint counts when its directory holds ``manifest.json`` and every file that it names has the size given there.
  :meth:`Checkpoint.verify` compares the digests too.
* It is written under a temporary name; every file and directory is synced, the manifest last; then it is renamed and
  the directory above synced. After a kill or a power cut it is there as a whole, or not at all.
* One process writes into a directory at a time; readers need no lock.
* Removing begins with a rename, so a half removed checkpoint does not look like a whole one.

Does not: delete anything that was not written here, such as checkpoints of other libraries. One that is in the way of
a new checkpoint is renamed.
``docs/checkpoint-format.md`` describes the format for others that read it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
import sys
import threading
import uuid
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, BinaryIO

import filelock
import numpy as np

from tf_hfwb.checkpoint.manifest import (
    FORMAT,
    MANIFEST,
    VERSION,
    Checkpoint,
    FileEntry,
    Pace,
    digest_of_file,
    step_of,
)
from tf_hfwb.checkpoint.pending import wait_for_writers
from tf_hfwb.checkpoint.tensors import CHUNK, chunks
from tf_hfwb.errors import (
    CheckpointWriteError,
    CorruptCheckpointError,
    DirectoryInUseError,
    NotACheckpointError,
    TFHFWBError,
)

__all__ = ["Checkpoint", "Draft", "FileEntry", "Pace", "Store"]

_LOCK = ".tf_hfwb.lock"
_DRAFT = ".tmp-draft-"
_REPLACED = ".tmp-replaced-"
_REMOVED = ".tmp-removed-"

_renaming = threading.Lock()  # Between the two renames of a replacement nobody brings the old one back.


class Draft:
    """A checkpoint that is being written; see :meth:`Store.draft`.

    Attributes:
        path: The temporary directory. Other tools may write files into it, too.
    """

    def __init__(
        self, path: pathlib.Path, target: pathlib.Path, pace: Pace | None, hashers: contextlib.ExitStack
    ) -> None:
        self.path = path
        self._target = target
        self._pace = pace or (lambda size: None)
        self._hashers = hashers
        self._written: dict[str, _HashedFile] = {}
        self._files: dict[str, FileEntry] = {}

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file to write, once and from front to back; it is hashed on the way and synced at the end.

        What is written must not be changed before the commit: it may be hashed until then. An error in the block
        removes the file.
        """
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb", buffering=0) as raw:
            file = _HashedFile(raw, self._hashers.enter_context(ThreadPoolExecutor(1)), self._pace)
            try:
                yield file  # type: ignore[misc]
                os.fsync(raw.fileno())
            except BaseException:
                path.unlink(missing_ok=True)  # Or commit would take half a file for one that another tool wrote.
                raise
        self._written[name] = file

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON."""
        with self.open(name) as file:
            file.write((json.dumps(value, indent=2, sort_keys=True) + "\n").encode())

    def write_tensors(
        self, name: str, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write arrays as a safetensors file."""
        with self.open(name) as file:
            for chunk in chunks(tensors, metadata):
                file.write(chunk)

    def reuse(self, name: str, checkpoint: Checkpoint, name_there: str | None = None) -> None:
        """Take a file over from another checkpoint: as a link, or as a copy where links are not possible."""
        source = checkpoint.path / (name_there or name)
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, path)
        except OSError:
            with open(source, "rb") as there, self.open(name) as file:
                while chunk := there.read(CHUNK):
                    file.write(chunk)
        # Also for a copy: one of a damaged file must not look like a good one.
        self._files[name] = checkpoint.files[name_there or name]

    def reuse_same(self, name: str, sha256: str, checkpoint: Checkpoint | None) -> bool:
        """Take a file over from another checkpoint, if it has one of that name and digest; tells whether it had."""
        known = None if checkpoint is None else checkpoint.files.get(name)
        if checkpoint is None or known is None or known.sha256 != sha256:
            return False
        self.reuse(name, checkpoint)
        return True

    def commit(self) -> Checkpoint:
        """Finish: from here on the checkpoint is there, whatever happens.

        A checkpoint of the same name with the same contents is kept; one with others is replaced. A directory without
        a manifest, which is not ours, gets another name.
        """
        for name, file in self._written.items():
            self._files.setdefault(name, FileEntry(file.size, file.digest()))
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path).as_posix()
            if path.is_file() and name not in self._files:
                _sync(path)
                self._files[name] = FileEntry(path.stat().st_size, digest_of_file(path, self._pace))
        files = {name: {"size": entry.size, "sha256": entry.sha256} for name, entry in sorted(self._files.items())}
        sequence = 1 + max((checkpoint.sequence for checkpoint in _committed(self._target.parent)), default=0)
        with open(self.path / MANIFEST, "x") as text:
            json.dump({"format": FORMAT, "version": VERSION, "sequence": sequence, "files": files}, text, indent=2)
            text.write("\n")
            text.flush()
            os.fsync(text.fileno())
        for directory in [*(path for path in self.path.rglob("*") if path.is_dir()), self.path]:
            sync_directory(directory)
        with contextlib.suppress(NotACheckpointError, CorruptCheckpointError):
            there = Checkpoint.open(self._target)
            if there.files == self._files and there.sequence == sequence - 1:
                there.verify()  # What was damaged since it was written is replaced.
                return there
        ours = (self._target / MANIFEST).exists()
        aside = _beside(self._target, _REPLACED if ours else "not-ours-")
        with _renaming:
            if self._target.exists():
                os.rename(self._target, aside)
            try:
                os.rename(self.path, self._target)
            except OSError:
                if aside.exists():
                    os.rename(aside, self._target)
                raise
            sync_directory(self._target.parent)
        if ours:
            shutil.rmtree(aside, ignore_errors=True)
        return Checkpoint(self._target, dict(self._files), sequence=sequence)


class _HashedFile:
    """What :meth:`Draft.open` gives: enough of a file to write a ``zipfile`` into, too.

    When somebody waits, another thread hashes what was written, and nothing waits for it before the commit: hashing
    takes longer than writing, so it goes on while this file is synced and the next one written, by a thread of its own.
    """

    def __init__(self, raw: Any, hasher: Executor, pace: Pace) -> None:
        self._raw = raw
        self._hasher = hasher
        self._pace = pace
        self._unpaced = 0
        self._hurries = False
        self._sha = hashlib.sha256()
        self._last: Future[None] | None = None  # Of the hasher, which goes from front to back.
        self.size = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), CHUNK):
            piece = view[start : start + CHUNK]
            if not (self._hurries and self._hashed_elsewhere(piece)):
                self._wait_for_hasher()
                self._sha.update(piece)
            rest = piece
            while rest:
                rest = rest[self._raw.write(rest) :]
            self.size += len(piece)
            self._unpaced += len(piece)
            if self._unpaced >= CHUNK:
                _write_back(self._raw.fileno())
                self._hurries = bool(self._pace(self._unpaced))
                self._unpaced = 0
        return len(view)

    def digest(self) -> str:
        """SHA-256 of what was written, hexadecimal."""
        self._wait_for_hasher()
        return self._sha.hexdigest()

    def _hashed_elsewhere(self, piece: memoryview) -> bool:
        try:
            self._last = self._hasher.submit(self._sha.update, piece)
        except RuntimeError:  # Python is ending: its pools of threads take nothing any more.
            return False
        return True

    def _wait_for_hasher(self) -> None:
        if self._last is not None:
            self._last.result()

    def flush(self) -> None:
        """Nothing is held back."""

    def tell(self) -> int:
        return self.size

    def seekable(self) -> bool:
        return False


class Store:
    """The checkpoints of one output directory.

    Args:
        path: The directory; made by the first draft.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     store = Store(directory)
        ...     with store.exclusive(), store.draft("checkpoint-10") as draft:
        ...         draft.write_json("trainer_state.json", {"global_step": 10})
        ...         _ = draft.commit()
        ...     [checkpoint.name for checkpoint in store.checkpoints()]
        ['checkpoint-10']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path).expanduser()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes from writing here; a process that dies lets go. Within a process it may be nested.

        Raises:
            DirectoryInUseError: Another process has it.
            CheckpointWriteError: The directory cannot be made or written.
        """
        with _explained(self.path):
            _make_directory(self.path)
            # One lock for all threads, however the path is spelt.
            lock = filelock.FileLock(self.path.resolve() / _LOCK, is_singleton=True, thread_local=False)
            taken = _taken(lock)
        if not taken:
            raise DirectoryInUseError(
                f"Another process saves its checkpoints into {self.path}. Expected to be the only one: they would "
                f"remove each other's. Give each training an output directory of its own, or wait until that one ends."
            )
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def draft(self, name: str, pace: Pace | None = None) -> Iterator[Draft]:
        """Write a checkpoint; without :meth:`Draft.commit` in the block it is thrown away.

        Args:
            name: The directory's name, such as ``checkpoint-30``.
            pace: Called with the number of bytes after every 4 MiB or so.

        Raises:
            CheckpointWriteError: Something could not be written, on a full disk for example.
        """
        path = _beside(self.path / name, _DRAFT)
        try:
            with _explained(self.path / name):
                _make_directory(self.path)
                path.mkdir()
                with contextlib.ExitStack() as hashers:
                    yield Draft(path, self.path / name, pace, hashers)
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed processes left; only while holding :meth:`exclusive`.

        That is what lies under our own temporary names. A directory that merely lacks a manifest may be another
        library's checkpoint: it is never read, and never removed.
        """
        wait_for_writers(self.path)  # A fit of this process that ended in an exception may have a draft there.
        self._bring_back()
        for path in self.path.glob(".tmp-*"):
            if path.name.startswith((_DRAFT, _REPLACED, _REMOVED)):
                shutil.rmtree(path, ignore_errors=True)

    def _bring_back(self) -> None:
        """After a kill between the two renames of a replacement the old one is still the one that counts."""
        with _renaming:
            for path in self.path.glob(f"{_REPLACED}*"):
                target = self.path / path.name.removeprefix(_REPLACED).rpartition("-")[0]
                with contextlib.suppress(NotACheckpointError, CorruptCheckpointError, OSError):
                    Checkpoint.open(path)
                    if not target.exists():
                        os.rename(path, target)
                        sync_directory(self.path)

    def checkpoints(self) -> list[Checkpoint]:
        """The committed checkpoints named ``checkpoint-{step}``, in the order of saving; digests are not compared."""
        return self._listed()[0]

    def rejected(self) -> list[tuple[pathlib.Path, str]]:
        """Directories named so that have a manifest and are damaged all the same, with the reason."""
        return self._listed()[1]

    def _listed(self) -> tuple[list[Checkpoint], list[tuple[pathlib.Path, str]]]:
        wait_for_writers(self.path)
        if any(self.path.glob(f"{_REPLACED}*")):
            # Another process that holds the lock is alive, and will finish its replacement itself.
            with contextlib.suppress(DirectoryInUseError, CheckpointWriteError), self.exclusive():
                self._bring_back()
        good: list[Checkpoint] = []
        bad: list[tuple[pathlib.Path, str]] = []
        for path in self.path.glob("checkpoint-*") if self.path.is_dir() else ():
            if step_of(path) is None or not (path / MANIFEST).exists():
                continue
            try:
                good.append(Checkpoint.open(path))
            except (NotACheckpointError, CorruptCheckpointError) as error:
                bad.append((path, str(error)))
        return sorted(good, key=lambda checkpoint: (checkpoint.sequence, checkpoint.step or 0)), bad

    def newest_good(self) -> tuple[Checkpoint | None, list[tuple[pathlib.Path, str]]]:
        """The newest checkpoint all of whose digests agree, and the newer ones that were passed over, with reasons."""
        good, bad = self._listed()
        while good:
            try:
                good[-1].verify()
                break
            except CorruptCheckpointError as error:
                bad.append((good.pop().path, str(error)))
        newest = good[-1] if good else None
        oldest = -1 if newest is None else newest.step or 0
        return newest, [(path, reason) for path, reason in bad if (step_of(path) or 0) > oldest]

    def prune(self, limit: int, keep: Collection[int] = ()) -> list[pathlib.Path]:
        """Remove the oldest checkpoints beyond ``limit``.

        The newest one and those of the steps in ``keep`` stay, and count; so with a limit of 1 there may be more.

        Returns:
            The directories that are gone.
        """
        with _explained(self.path):
            there = self.checkpoints()
            removable = [checkpoint for checkpoint in there[:-1] if checkpoint.step not in keep]
            gone = {
                checkpoint.path: _beside(checkpoint.path, _REMOVED)
                for checkpoint in removable[: max(0, len(there) - limit)]
            }
            for path, renamed in gone.items():
                os.rename(path, renamed)
            if gone:
                sync_directory(self.path)  # Or a power cut could undo the rename, and not the removal.
        for renamed in gone.values():
            shutil.rmtree(renamed, ignore_errors=True)
        return list(gone)


def _committed(directory: pathlib.Path) -> Iterator[Checkpoint]:
    """What in a directory has a manifest that can be read."""
    for path in directory.glob(f"checkpoint-*/{MANIFEST}"):
        with contextlib.suppress(NotACheckpointError, CorruptCheckpointError):
            yield Checkpoint.open(path.parent)


@contextlib.contextmanager
def _explained(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except TFHFWBError:  # Some of them are OSErrors.
        raise
    except OSError as error:
        free = ""
        with contextlib.suppress(OSError):
            free = f" ({shutil.disk_usage(path.parent).free >> 20} MiB are free there)"
        raise CheckpointWriteError(
            error.errno or 0,
            f"{path} could not be written: {error.strerror or error}{free}. Expected a directory that can be written, "
            f"with room for a checkpoint. Make room, or save somewhere else; the checkpoints before it are whole.",
        ) from error


def _taken(lock: filelock.BaseFileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:  # Which is an OSError.
        return False
    return True


def _beside(path: pathlib.Path, prefix: str) -> pathlib.Path:
    return path.with_name(f"{prefix}{path.name}-{uuid.uuid4().hex[:8]}")


def _make_directory(path: pathlib.Path) -> None:
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for directory in missing:
        sync_directory(directory.parent)


def _write_back(descriptor: int) -> None:
    """Start writing to the disk what a file has in memory, without waiting, and give back what is written already.

    A few pages are used again and again then. Else a file takes as much fresh memory as it is long, and getting that
    may take longer than writing, on a virtual machine above all, whose host takes back what is free for some seconds.
    """
    if sys.platform == "linux":
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def sync_tree(path: pathlib.Path) -> None:
    """Have everything in a directory on the disk, as far as it is not there yet."""
    for file in [*path.rglob("*"), path]:
        if file.is_dir():
            sync_directory(file)
        else:
            _sync(file)


def _sync(path: pathlib.Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_directory(path: pathlib.Path) -> None:
    """Have a directory's names on the disk."""
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows has no such thing.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # Some network file systems cannot.
            raise
    finally:
        os.close(descriptor)
