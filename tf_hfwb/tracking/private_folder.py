"""A directory to which nobody else writes, and which of the files in it may be trusted."""

from __future__ import annotations

import logging
import os
import pathlib
import shutil
import stat
from collections.abc import Collection

from tf_hfwb.errors import ServerError

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

_logger = logging.getLogger("tf_hfwb")


def private_folder(wanted: str | os.PathLike[str]) -> pathlib.Path:
    """``wanted``, created if need be, if nobody else can write to it; else a folder in the user's home.

    Raises:
        ServerError: Others can write to that, too.
    """
    folders = [pathlib.Path(os.path.abspath(wanted)), pathlib.Path("~/.cache/tf_hfwb").expanduser().absolute()]
    reasons: list[str] = []
    for folder in folders:
        reason = _make_private(folder)
        if reason is None:
            if reasons:
                _logger.warning("Downloads are not put into %s, but into %s.", reasons[0], folder)
            return folder
        reasons.append(f"{folder}: {reason}")
    raise ServerError(
        f"Nothing is downloaded into {'; nor into '.join(reasons)}. Expected a folder to which nobody else can write: "
        "what is there is loaded as a model. Set WANDB_CACHE_DIR to a directory of your own."
    )


def _make_private(folder: pathlib.Path) -> str | None:
    """Create a folder that belongs to this user alone.

    Returns:
        Why it does not; None if it does.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name != "posix":
            return None
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            return "it is a link"
        if not is_mine(status):
            return "it belongs to another user"
        if status.st_mode & _WRITABLE_BY_OTHERS:
            folder.chmod(stat.S_IMODE(status.st_mode) & ~_WRITABLE_BY_OTHERS)
            if folder.lstat().st_mode & _WRITABLE_BY_OTHERS:
                return "others can write to it"
        for above in folder.resolve().parents:
            if _others_can_rename_in(above.stat()):
                return f"others can replace it, since they can write to {above}"
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"
    return None


def _others_can_rename_in(status: os.stat_result) -> bool:
    if status.st_mode & stat.S_ISVTX:  # As in /tmp: each user only his own.
        return False
    by_group = bool(status.st_mode & stat.S_IWGRP) and status.st_gid != os.getegid()
    return by_group or bool(status.st_mode & stat.S_IWOTH)


def is_mine(status: os.stat_result) -> bool:
    """Whether a file belongs to the user of this process; always so where files have no owners."""
    return os.name != "posix" or status.st_uid == os.geteuid()


def is_exactly(directory: pathlib.Path, names: Collection[str]) -> bool:
    """Whether a directory holds these files and nothing else, all regular, and neither they nor it behind a link."""
    if directory.is_symlink() or not directory.is_dir():
        return False
    found = set()
    for path in _below(directory):
        if not path.is_file() or path.is_symlink():
            return False
        found.add(path.relative_to(directory).as_posix())
    return found == set(names)


def remove_others(directory: pathlib.Path, names: Collection[str], partial_suffix: str) -> None:
    """Remove everything but these files and their partial downloads: above all links, through which one would write.

    Args:
        directory: A directory in a private folder.
        names: The files' names.
        partial_suffix: How the name of a partial download ends. One that is linked from elsewhere is removed.
    """
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        directory.unlink()
        return
    known = set(names)
    for path in list(_below(directory)):
        status, name = path.lstat(), path.relative_to(directory).as_posix()
        is_partial = (
            name.removesuffix(partial_suffix) in known and name.endswith(partial_suffix) and status.st_nlink == 1
        )
        if not (stat.S_ISREG(status.st_mode) and is_mine(status) and (name in known or is_partial)):
            path.unlink()
    for folder, _, _ in os.walk(directory, topdown=False):
        below = pathlib.Path(folder).relative_to(directory).as_posix()
        if below in known or (below.endswith(partial_suffix) and below.removesuffix(partial_suffix) in known):
            shutil.rmtree(folder)


def _below(directory: pathlib.Path) -> list[pathlib.Path]:
    """Everything below that is not a directory; a link is not one."""
    found = []
    for folder, folders, files in os.walk(directory):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        found += [pathlib.Path(folder, name) for name in [*files, *links]]
    return found
