"""A checkpoint that is being written: its files, which are hashed on the way, and its commit."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import pathlib
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np

from tf_hfwb.checkpoint.digests import CHUNK, Pace, digest_of_chunks, digest_of_file, sha256_of
from tf_hfwb.checkpoint.directory_removal import discard, files_of, name_to_keep
from tf_hfwb.checkpoint.fsync import sync_directory
from tf_hfwb.checkpoint.known_checkpoints import KnownCheckpoints
from tf_hfwb.checkpoint.manifest import (
    MANIFEST,
    Checkpoint,
    FileEntry,
    manifest_of,
)
from tf_hfwb.checkpoint.regular_files import names_in, open_regular, size_of
from tf_hfwb.checkpoint.safetensors_files import chunks
from tf_hfwb.checkpoint.temporary_names import REPLACED, unused_name
from tf_hfwb.errors import CheckpointWriteError, CorruptCheckpointError, NotACheckpointError

RENAMING = threading.Lock()  # Held during the two renames of a replacement, so that nothing undoes the first one.

_logger = logging.getLogger("tf_hfwb")


class Draft:
    """A checkpoint that is being written; see :meth:`Store.draft`.

    Attributes:
        path: The temporary directory. Other tools may write files into it, too.
    """

    def __init__(
        self,
        path: pathlib.Path,
        target: pathlib.Path,
        pace: Pace | None,
        hashers: contextlib.ExitStack,
        known: KnownCheckpoints,
    ) -> None:
        self.path = path
        self._target = target
        self._pace = pace or (lambda size: None)
        self._hashers = hashers
        self._known = known
        self._written: dict[str, _HashedFile] = {}
        self._files: dict[str, FileEntry] = {}
        self._not_needed: set[str] = set()

    @contextlib.contextmanager
    def open(self, name: str, *, is_needed: bool = True) -> Iterator[BinaryIO]:
        """Open a file for writing, once and from front to back; it is hashed on the way and synced at the end.

        Do not change what was written before the commit: it may be hashed as late as then. An error in the block
        removes the file.

        Args:
            name: The file's name.
            is_needed: Whether the checkpoint is damaged when it is.
        """
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb", buffering=0) as raw:
            file = _HashedFile(raw, self._hashers.enter_context(ThreadPoolExecutor(1)), self._pace)
            try:
                yield file  # type: ignore[misc]
                os.fsync(raw.fileno())
            except BaseException:
                path.unlink(missing_ok=True)  # Else commit would take half a file for one that another tool wrote.
                raise
        self._written[name] = file
        if not is_needed:
            self._not_needed.add(name)

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
        """Reuse a file of another checkpoint: as a link, or as a copy where links are not possible.

        Args:
            name: The name of the file here.
            checkpoint: The other checkpoint.
            name_there: Its name there; the same if None.

        Raises:
            CorruptCheckpointError: There it is missing, is not a regular file or has another size.
            NotACheckpointError: That checkpoint has been removed meanwhile.
        """
        source = name_there or name
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with checkpoint.open_file(source) as there:
            try:
                os.link(checkpoint.path / source, path)
            except OSError:
                with self.open(name) as file:
                    while chunk := there.read(CHUNK):
                        file.write(chunk)
            else:
                self._check_link(name, there.fileno())
        # Also for a copy: that of a damaged file must not look like an undamaged one.
        self._files[name] = checkpoint.files[source]

    def _check_link(self, name: str, descriptor: int) -> None:
        """Refuse a link to another file than the one that was opened."""
        if not os.path.samestat(os.lstat(self.path / name), os.fstat(descriptor)):
            (self.path / name).unlink()
            raise CorruptCheckpointError(
                f"{name} was replaced by another file while it was taken over. Expected files of a checkpoint to stay "
                f"as they were written. Leave them alone, or use another checkpoint."
            )

    def reuse_same(self, name: str, content: Iterable[Any], checkpoint: Checkpoint | None) -> bool:
        """Reuse a file of another checkpoint, if it has one of that name and content.

        Args:
            name: The file's name.
            content: What the file has to hold, in pieces. It is hashed at the pace at which files are written.
            checkpoint: The other checkpoint; None if there is none.

        Returns:
            Whether it is reused.
        """
        entry = None if checkpoint is None else checkpoint.files.get(name)
        if checkpoint is None or entry is None or digest_of_chunks(content, self._pace)[1] != entry.sha256:
            return False
        try:
            self.reuse(name, checkpoint)
        except (CorruptCheckpointError, NotACheckpointError):  # It is damaged or gone.
            return False
        return True

    def commit(self) -> Checkpoint:
        """Finish the checkpoint: after this it is there, whatever happens.

        A checkpoint of the same name and contents stays, one with other contents is replaced. Anything else of that
        name, and what cannot be understood, gets another name.

        Raises:
            CheckpointWriteError: There is something in the draft that no reader would accept.
        """
        for name, file in self._written.items():
            self._files.setdefault(name, FileEntry(file.size, file.digest(), name not in self._not_needed))
        self._add_other_files()
        sequence = 1 + self._known.last_sequence()
        text = self._manifest(sequence)
        with open(self.path / MANIFEST, "xb") as manifest:
            manifest.write(text)
            manifest.flush()
            os.fsync(manifest.fileno())
        for directory in [*(path for path in self.path.rglob("*") if path.is_dir()), self.path]:
            sync_directory(directory)
        with contextlib.suppress(NotACheckpointError, CorruptCheckpointError):
            there = Checkpoint.open(self._target)
            if there.files == self._files and there.sequence == sequence - 1:
                there.verify()  # What was damaged since it was written is replaced.
                return there
        with self._known.changing():
            self._take_place()
        checkpoint = Checkpoint(self._target, dict(self._files), sequence=sequence, digest=sha256_of(text))
        self._known.add(checkpoint)
        return checkpoint

    def _add_other_files(self) -> None:
        """Add the files that another tool wrote."""
        for name in names_in(self.path):
            try:
                size_of(self.path, name)
            except OSError as error:
                raise self._refusal(f"{name} was left there, and {error.strerror}") from error
            if name not in self._files:
                with open_regular(self.path, name) as file:
                    self._files[name] = FileEntry(*digest_of_file(file, self._pace))
                    os.fsync(file.fileno())

    def _manifest(self, sequence: int) -> bytes:
        try:
            return manifest_of(self._files, sequence)
        except ValueError as error:
            raise self._refusal(f"its manifest would be refused: {error}") from error

    def _refusal(self, how: str) -> CheckpointWriteError:
        return CheckpointWriteError(
            errno.EINVAL,
            f"{self._target} could not be written: {how}. Expected regular files, whose names can be read on every "
            f"system. See what writes others among the files of the model and of its processing_class.",
        )

    def _take_place(self) -> None:
        ours = files_of(self._target) is not None
        aside = unused_name(self._target, REPLACED) if ours else name_to_keep(self._target)
        with RENAMING:
            in_the_way = os.path.lexists(self._target)
            if in_the_way:
                os.rename(self._target, aside)
            try:
                os.rename(self.path, self._target)
            except OSError:
                if in_the_way:
                    os.rename(aside, self._target)
                raise
            sync_directory(self._target.parent)
        if ours:
            discard(aside)
        elif in_the_way:
            _logger.warning(
                "%s was in the way of a checkpoint, and no checkpoint that this package understands. It is kept as %s.",
                self._target,
                aside.name,
            )


class _HashedFile:
    """The file that :meth:`Draft.open` opens; a ``zipfile`` can be written into it, too.

    Hashing takes longer than writing. So when somebody waits for the checkpoint, a thread of the file's own hashes it,
    while the file is synced and the next one is written. Nothing waits for that thread before the commit.
    """

    def __init__(self, raw: Any, hasher: Executor, pace: Pace) -> None:
        self._raw = raw
        self._hasher = hasher
        self._pace = pace
        self._unpaced = 0
        self._hurries = False
        self._sha = hashlib.sha256()
        self._last: Future[None] | None = None  # The last piece given to the hasher, which keeps their order.
        self.size = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), CHUNK):
            piece = view[start : start + CHUNK]
            if not (self._hurries and self._hash_on_other_thread(piece)):
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

    def _hash_on_other_thread(self, piece: memoryview) -> bool:
        try:
            self._last = self._hasher.submit(self._sha.update, piece)
        except RuntimeError:  # Python is exiting: its pools of threads accept nothing any more.
            return False
        return True

    def _wait_for_hasher(self) -> None:
        if self._last is not None:
            self._last.result()

    def flush(self) -> None:
        """Do nothing: the file is not buffered."""

    def tell(self) -> int:
        return self.size

    def seekable(self) -> bool:
        return False


def _write_back(descriptor: int) -> None:
    """Let the system start to write a file's pages to the disk, and free the pages that are written already.

    So a few pages are used again and again. Else a file takes as much new memory as it is long. Getting that may take
    longer than writing, above all on a virtual machine, whose host takes back memory that is free for some seconds.
    """
    if sys.platform == "linux":
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
