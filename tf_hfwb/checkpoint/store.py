"""Checkpoints in a directory: written so that whatever kills the process leaves whole ones only.

Guarantees:

* A directory is a checkpoint if it holds ``manifest.json`` and every file that it names has the size given there.
  :meth:`Checkpoint.verify` compares the digests too.
* It is written under a temporary name; every file and directory is synced, the manifest last; then it is renamed, and
  the directory above is synced. After a kill or a power cut it is there as a whole, or not at all.
* One process writes into a directory at a time. Readers need no lock: beside a process that writes they find the
  checkpoints that were there at one moment, and never none where there was always one.
* Removing begins with a rename, so a half removed checkpoint does not look like a whole one.

Does not: delete anything that was not written here, such as checkpoints of other libraries, of newer versions of this
package, or notes within a checkpoint. What is in the way is renamed.
``docs/checkpoint-format.md`` describes the format for others that read it.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import filelock

from tf_hfwb.checkpoint.checkpoint_draft import RENAMING, Draft
from tf_hfwb.checkpoint.digests import Pace
from tf_hfwb.checkpoint.directory_removal import discard
from tf_hfwb.checkpoint.fsync import sync_directory
from tf_hfwb.checkpoint.known_checkpoints import KnownCheckpoints
from tf_hfwb.checkpoint.manifest import LOOKS, MANIFEST, PAUSE, Checkpoint, FileEntry
from tf_hfwb.checkpoint.pending_writes import wait_for_writers
from tf_hfwb.checkpoint.regular_files import size_of
from tf_hfwb.checkpoint.step_names import step_of
from tf_hfwb.checkpoint.temporary_names import DRAFT, REMOVED, find_interrupted, parse_temporary_name, unused_name
from tf_hfwb.errors import (
    CheckpointError,
    CheckpointWriteError,
    CorruptCheckpointError,
    DirectoryInUseError,
    NotACheckpointError,
    TFHFWBError,
)

__all__ = ["Checkpoint", "Draft", "FileEntry", "Pace", "Rejected", "Store"]

_LOCK = ".tf_hfwb.lock"


@dataclass(frozen=True)
class Rejected:
    """A directory with the name of a checkpoint and a manifest that cannot be used.

    Attributes:
        path: The directory.
        reason: What is wrong with it.
        sequence: The number of its save; None where the manifest does not tell it.
    """

    path: pathlib.Path
    reason: str
    sequence: int | None


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
        self._known = KnownCheckpoints(self.path)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes from writing here, until the block or the process ends. Blocks may be nested.

        Raises:
            DirectoryInUseError: Another process writes here.
            CheckpointWriteError: The directory cannot be made or written.
        """
        with _explain_errors(self.path):
            _make_directory(self.path)
        with _explain_errors(self.path / _LOCK):
            directory = self.path.resolve()
            with contextlib.suppress(FileNotFoundError):
                size_of(directory, _LOCK)  # Some releases of filelock follow a link, and empty its target.
            # One lock for all threads, whatever way the path is written.
            lock = filelock.FileLock(directory / _LOCK, is_singleton=True, thread_local=False)
            taken = _acquire(lock)
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
        """Write a checkpoint; without :meth:`Draft.commit` in the block it is discarded.

        Args:
            name: The directory's name, such as ``checkpoint-30``.
            pace: Called with the number of bytes after every 4 MiB or so.

        Raises:
            CheckpointWriteError: Something could not be written, on a full disk for example.
        """
        path = unused_name(self.path / name, DRAFT)
        try:
            with _explain_errors(self.path / name):
                _make_directory(self.path)
                with self._known.changing():
                    path.mkdir()
                with contextlib.ExitStack() as hashers:
                    yield Draft(path, self.path / name, pace, hashers, self._known)
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed processes left; call it only within :meth:`exclusive`.

        Only directories with temporary names of this package are removed. A directory that merely lacks a manifest may
        be another library's checkpoint: it is never read, and never removed.
        """
        wait_for_writers(self.path)  # A fit of this process that ended in an exception may still be writing a draft.
        self._restore_replaced()
        for path in [*self.path.glob(".tmp-*")]:
            kind = parse_temporary_name(path.name)
            if kind is not None and kind[0] == DRAFT:
                shutil.rmtree(path, ignore_errors=True)
            elif kind is not None:
                discard(path)

    def _restore_replaced(self) -> None:
        """Give checkpoints their names back whose replacement was interrupted between its two renames."""
        with RENAMING:
            for name, replaced in find_interrupted(self._snapshot()[1]).items():
                with contextlib.suppress(NotACheckpointError, CorruptCheckpointError, OSError):
                    Checkpoint.open(self.path / replaced)
                    os.rename(self.path / replaced, self.path / name)
                    sync_directory(self.path)

    def checkpoints(self) -> list[Checkpoint]:
        """The committed checkpoints named ``checkpoint-{step}``, in the order of saving; digests are not compared.

        Another process may save and remove some meanwhile: these were all there at one moment.
        """
        return self.list_all()[0]

    def list_all(self) -> tuple[list[Checkpoint], list[Rejected]]:
        """As :meth:`checkpoints`, and the directories of such names that have a manifest and are damaged."""
        # Look until nothing comes or goes meanwhile: what is being renamed could be missed.
        wait_for_writers(self.path)
        for _ in range(LOOKS):
            before = self._snapshot()
            good, bad, is_whole = self._inspect(before[1])
            if is_whole and before == self._snapshot():
                break
            time.sleep(PAUSE)
        return sorted(good, key=lambda checkpoint: _order(checkpoint.sequence, checkpoint.path)), bad

    def _inspect(self, names: Collection[str]) -> tuple[list[Checkpoint], list[Rejected], bool]:
        """The usable and the damaged checkpoints of these names, and whether each name was still there."""
        good: list[Checkpoint] = []
        bad: list[Rejected] = []
        is_whole = not find_interrupted(names) or self._has_restored_replaced()
        for path in (self.path / name for name in names):
            if step_of(path) is None:
                continue
            sequence = None
            try:
                checkpoint = Checkpoint.read_manifest(path)
                sequence = checkpoint.sequence
                checkpoint.check_sizes()
                good.append(checkpoint)
            except NotACheckpointError:
                # Either it has no manifest, or the directory has changed since the names were listed.
                is_whole = is_whole and sequence is None and os.path.lexists(path) and not (path / MANIFEST).exists()
            except CorruptCheckpointError as error:
                bad.append(Rejected(path, str(error), sequence))
        return good, bad, is_whole

    def _has_restored_replaced(self) -> bool:
        """Finish interrupted replacements; False if another process may still be at work on them."""
        try:
            with self.exclusive():
                self._restore_replaced()
        except (DirectoryInUseError, CheckpointWriteError):
            return False
        return True

    def _snapshot(self) -> tuple[int, list[str]]:
        """What changes when something comes or goes: the time of the last change, and the names."""
        try:
            return os.stat(self.path).st_mtime_ns, sorted(os.listdir(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return 0, []
        except OSError as error:
            raise CheckpointError(
                f"{self.path} cannot be looked through: {error.strerror}. Expected a directory that can be read. "
                f"Change its permissions, or name another one."
            ) from error

    def newest_good(self) -> tuple[Checkpoint | None, list[Rejected]]:
        """The newest checkpoint whose digests all agree, and the rejected ones that may be newer.

        A rejected one may be newer if it was saved later, whatever its step, or if its manifest does not tell when it
        was saved. Where something comes or goes meanwhile, everything is looked at again.

        Raises:
            DirectoryInUseError: Another process removes each of them before it can be verified.
        """
        for _ in range(LOOKS):
            good, bad = self.list_all()
            try:
                newest, damaged = _first_good(good)
            except NotACheckpointError:
                continue
            # The newest one of a moment ago will do. An older one, or none, only counts if nothing has come since.
            is_newest = newest is not None and newest == good[-1] and newest.is_there()
            if is_newest or (good, bad) == self.list_all():
                oldest = (-1, -1) if newest is None else _order(newest.sequence, newest.path)
                passed = [one for one in bad if one.sequence is None or _order(one.sequence, one.path) > oldest]
                return newest, [*damaged, *passed]
        raise DirectoryInUseError(
            f"Another process saves its checkpoints into {self.path}, and removes each of them before it can be "
            f"verified. Expected one that stays. Wait until that one ends, or let it keep more of them."
        )

    def prune(self, limit: int, keep: Collection[int] = ()) -> list[pathlib.Path]:
        """Remove the oldest checkpoints beyond ``limit``.

        The newest one and those of the steps in ``keep`` stay, and count, so with a limit of 1 there may be more.
        Files in them that this package did not write are kept, in a directory ``not-ours-...``.

        Args:
            limit: The number of checkpoints to retain.
            keep: Steps whose checkpoints are retained in any case.

        Returns:
            The directories that were removed.
        """
        with _explain_errors(self.path):
            there = sorted(self._known.whole(), key=lambda checkpoint: _order(checkpoint.sequence, checkpoint.path))
        removable = [checkpoint for checkpoint in there[:-1] if checkpoint.step not in keep]
        return self.remove([checkpoint.path for checkpoint in removable[: max(0, len(there) - limit)]])

    def remove(self, paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
        """Remove committed directories, as :meth:`prune` does; return those that were there."""
        renamed: dict[pathlib.Path, pathlib.Path] = {}
        with _explain_errors(self.path):
            for path in paths:
                removed = unused_name(path, REMOVED)
                with self._known.changing(), contextlib.suppress(FileNotFoundError):  # Another process has removed it.
                    os.rename(path, removed)
                    renamed[path] = removed
                self._known.drop(path.name)
            if renamed:
                sync_directory(self.path)  # Else a power cut could undo the rename, and not the removal.
        with self._known.changing():
            for path in renamed.values():
                discard(path)
        return list(renamed)


def _first_good(checkpoints: Sequence[Checkpoint]) -> tuple[Checkpoint | None, list[Rejected]]:
    """The last one that can be verified, and the damaged ones after it.

    Raises:
        NotACheckpointError: One has been removed meanwhile.
    """
    damaged: list[Rejected] = []
    for checkpoint in reversed(checkpoints):
        try:
            checkpoint.verify()
            return checkpoint, damaged
        except CorruptCheckpointError as error:
            damaged.append(Rejected(checkpoint.path, str(error), checkpoint.sequence))
    return None, damaged


def _order(sequence: int, path: pathlib.Path) -> tuple[int, int]:
    """A key to sort by: what was saved last is the newest; without numbers of saves, what has the largest step."""
    return sequence, step_of(path) or 0


@contextlib.contextmanager
def _explain_errors(path: pathlib.Path) -> Iterator[None]:
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


def _acquire(lock: filelock.BaseFileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:  # Which is an OSError.
        return False
    return True


def _make_directory(path: pathlib.Path) -> None:
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for directory in missing:
        sync_directory(directory.parent)
