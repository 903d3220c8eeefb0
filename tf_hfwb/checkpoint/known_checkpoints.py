"""What a process that saves knows of the checkpoints beside it, so that a save reads none of their manifests again.

Only the writing process uses this: it has the directory's lock, so nothing else saves there. Who comes or goes
nevertheless, as when somebody removes a checkpoint by hand, changes the time stamp of the directory; then the names are
listed again. Before older ones are removed, each whose own time stamp has changed is read again. What changes without a
trace there, as when a file is cut short, is left to readers: they look at everything each time.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass

from tf_hfwb.checkpoint.manifest import Checkpoint
from tf_hfwb.checkpoint.pending_writes import wait_for_writers
from tf_hfwb.checkpoint.step_names import paths_with_prefix
from tf_hfwb.errors import CorruptCheckpointError, NotACheckpointError


@dataclass(frozen=True)
class _Known:
    """A directory with the name of a checkpoint, as it was when it was read.

    Attributes:
        stamp: That of the directory.
        sequence: The number of its save; 0 where no manifest tells it.
        checkpoint: The checkpoint; None if it is damaged, or none of ours.
    """

    stamp: tuple[int, int]
    sequence: int = 0
    checkpoint: Checkpoint | None = None


class KnownCheckpoints:
    """The checkpoints in an output directory, as of the last look. One thread uses it at a time.

    Args:
        directory: The output directory.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, _Known] = {}

    def look(self) -> None:
        """See whether something has come or gone."""
        wait_for_writers(self._directory)
        stamp = _stamp_of(self._directory)
        if stamp == self._stamp:
            return
        found = {}
        for path in paths_with_prefix(self._directory):
            known = self._known.get(path.name)
            is_same = known is not None and known.stamp == _stamp_of(path)
            found[path.name] = known if is_same and known is not None else _read(path)
        self._known, self._stamp = found, stamp

    def whole(self) -> list[Checkpoint]:
        """Those with a step whose files had their sizes when they were read, in no order."""
        self.look()
        for name, known in self._known.items():
            path = self._directory / name
            if _stamp_of(path) != known.stamp:  # Somebody has removed a file of it, for example.
                self._known[name] = _read(path)
        found = [known.checkpoint for known in self._known.values() if known.checkpoint is not None]
        return [checkpoint for checkpoint in found if checkpoint.step is not None]

    def last_sequence(self) -> int:
        """The largest sequence of all, whole or not; 0 without one."""
        self.look()
        return max((known.sequence for known in self._known.values()), default=0)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """The block changes the directory: what has changed after it is known."""
        self.look()
        yield
        self._stamp = _stamp_of(self._directory)

    def add(self, checkpoint: Checkpoint) -> None:
        """Note a checkpoint that was just committed."""
        self._known[checkpoint.name] = _Known(_stamp_of(checkpoint.path), checkpoint.sequence, checkpoint)

    def drop(self, name: str) -> None:
        """Note that a checkpoint was removed."""
        self._known.pop(name, None)


def _stamp_of(path: pathlib.Path) -> tuple[int, int]:
    """What changes when something comes into a directory or goes from it, or when it is another one."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def _read(path: pathlib.Path) -> _Known:
    stamp, sequence = _stamp_of(path), 0
    try:
        checkpoint = Checkpoint.read_manifest(path)
        sequence = checkpoint.sequence
        checkpoint.check_sizes()
    except (NotACheckpointError, CorruptCheckpointError):
        return _Known(stamp, sequence)
    return _Known(stamp, sequence, checkpoint)
