"""What this process is still writing, so that its own readers wait for it.

A fit that ends in an exception may leave checkpoints that are still being written. Whoever reads their directory a
moment later expects to find them.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Protocol


class Writer(Protocol):
    """Writes on a thread of its own."""

    def flush(self) -> None:
        """Wait until everything submitted so far is written, or has failed."""

    def forget(self) -> None:
        """Drop all jobs, in a forked process: the parent writes them."""


_writers: dict[Writer, str] = {}
_this_thread = threading.local()


def begin_writing(writer: Writer, directory: str | os.PathLike[str]) -> None:
    """Make readers of the directory wait for the writer, until :func:`end_writing`."""
    _writers[writer] = os.path.realpath(directory)


def end_writing(writer: Writer) -> None:
    """Make no reader wait for the writer any more: everything is written, or has failed."""
    _writers.pop(writer, None)


@contextlib.contextmanager
def writing_thread() -> Iterator[None]:
    """Let this thread not wait for writers: it is the one that others wait for."""
    _this_thread.writes = True
    try:
        yield
    finally:
        _this_thread.writes = False


def wait_for_writers(directory: str | os.PathLike[str] | None = None) -> None:
    """Wait until everything that this process has captured so far is on disk, or has failed.

    Args:
        directory: The directory of the checkpoints; None for all.
    """
    if not _writers or getattr(_this_thread, "writes", False):
        return
    place = None if directory is None else os.path.realpath(directory)
    for writer, written in [*_writers.items()]:
        if place is None or written == place:
            writer.flush()


def _forget_all() -> None:
    writers = [*_writers]
    _writers.clear()
    for writer in writers:
        writer.forget()


if hasattr(os, "register_at_fork"):  # Windows does not fork.
    os.register_at_fork(after_in_child=_forget_all)
