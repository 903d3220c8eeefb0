"""Files of a directory that may come from elsewhere: only regular ones are opened, and only within it.

A symbolic link would lead to any file of this machine; a FIFO or a device would be waited for. Neither is followed or
opened, also where it stands for a directory on the way. The directory itself may be reached by a link.
"""

from __future__ import annotations

import errno
import io
import os
import pathlib
import stat

# With these, where the platform has them, a link or a FIFO that appears just before the opening is noticed, too.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def size_of(directory: pathlib.Path, name: str) -> int:
    """The size of a regular file, in bytes.

    Args:
        directory: Where it lies, perhaps some levels down.
        name: Its name, checked, with ``/`` between its parts.

    Raises:
        OSError: It is missing, is not a regular file, or lies beyond a link.
    """
    path = directory
    for part in name.split("/")[:-1]:
        path /= part
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise _refusal(found, path, "a directory")
    path = directory / name
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise _refusal(found, path, "a regular file")
    return found.st_size


def open_regular(directory: pathlib.Path, name: str) -> io.FileIO:
    """Open a regular file to read it, unbuffered.

    Args:
        directory: As for :func:`size_of`.
        name: As for :func:`size_of`.

    Raises:
        OSError: As :func:`size_of`; or it cannot be opened.
    """
    size_of(directory, name)  # Opening alone may have an effect, on a device.
    path = directory / name
    file = io.FileIO(os.open(path, _FLAGS), "rb")
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        file.close()
        raise _refusal(found, path, "a regular file")
    return file


def names_in(directory: pathlib.Path) -> list[str]:
    """The relative paths of everything in a directory, at any depth, but directories; no link is followed."""
    found = sorted(path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return [path.relative_to(directory).as_posix() for path in found]


def _refusal(found: os.stat_result, path: pathlib.Path, expected: str) -> OSError:
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "a regular file")
    return OSError(errno.EINVAL, f"it is {kind} and not {expected}", str(path))
