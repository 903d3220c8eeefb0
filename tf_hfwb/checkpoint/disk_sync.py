"""Have files and directories on the disk, not only in the system's memory."""

from __future__ import annotations

import errno
import os
import pathlib


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
