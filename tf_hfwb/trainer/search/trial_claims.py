"""Which process trains which trial: a trial of a process that is dead is trained further, and never one twice.

Each trial that is under way has a lock, which the system takes back when its process ends, however it ends. To take a
trial, to look for dead ones and to end the search are done by one process at a time. So processes on several machines
share a search if they share its directory.
"""

from __future__ import annotations

import hashlib
import pathlib

import filelock


class TrialClaims:
    """The locks of a search.

    Args:
        directory: Where they are; made if it is not there.
        name: The name of the search.
    """

    def __init__(self, directory: pathlib.Path, name: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._prefix = hashlib.sha256(name.encode()).hexdigest()[:8]
        self._choosing = filelock.FileLock(directory / f"{self._prefix}.lock")
        self._trial: filelock.BaseFileLock | None = None

    def begin_choosing(self) -> None:
        """Wait until no other process chooses a trial, and keep them from it."""
        self._choosing.acquire()

    def end_choosing(self) -> None:
        """Let others choose."""
        self._choosing.release(force=True)

    def take(self, number: int) -> None:
        """Note that this process trains the trial, until :meth:`end_trial`."""
        self._trial = filelock.FileLock(self._file(number))
        self._trial.acquire()

    def end_trial(self) -> None:
        """The trial of this process has ended, and the search knows how."""
        if self._trial is not None:
            self._trial.release()
            self._trial = None

    def was_taken(self, number: int) -> bool:
        """Whether a process that shares the directory has taken the trial, be it alive or dead."""
        return self._file(number).exists()

    def is_alive(self, number: int) -> bool:
        """Whether the process that has taken the trial is there."""
        lock = filelock.FileLock(self._file(number))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return True
        lock.release()
        return False

    def _file(self, number: int) -> pathlib.Path:
        return self._directory / f"{self._prefix}-{number}.lock"
