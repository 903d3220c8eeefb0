"""Write files and directories to the disk, from the memory in which the system keeps them."""

from __future__ import annotations

import errno
import os
import pathlib


def sync_tree(path: pathlib.Path) -> None:
    """Write everything in a directory to the disk."""
    for file in [*path.rglob("*"), path]:
        if file.is_dir():
            sync_directory(file)
        else:
            _sync(file)


def _sync(path: pathlib.Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_directory(path: pathlib.Path) -> None:
    """Write the names in a directory to the disk."""
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows cannot open a directory.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # Some network file systems cannot.
            raise
    finally:
        os.close(descriptor)
