"""A directory that nobody else writes to, and what may be believed of what is found in it."""

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
    """``wanted``, made if it is not there, if it is only this user's; else a folder in the user's home.

    Raises:
        ServerError: That is not his alone either.
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
    """Why it is not this user's alone; None if it is."""
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
    if status.st_mode & stat.S_ISVTX:  # As /tmp: each only what is his own.
        return False
    by_group = bool(status.st_mode & stat.S_IWGRP) and status.st_gid != os.getegid()
    return by_group or bool(status.st_mode & stat.S_IWOTH)


def is_mine(status: os.stat_result) -> bool:
    """Whether it belongs to the user of this process; always so where files have no owners."""
    return os.name != "posix" or status.st_uid == os.geteuid()


def is_exactly(directory: pathlib.Path, names: Collection[str]) -> bool:
    """Whether a directory holds these files and nothing else: regular ones, none of them, nor it, behind a link."""
    if directory.is_symlink() or not directory.is_dir():
        return False
    found = set()
    for path in _below(directory):
        if not path.is_file() or path.is_symlink():
            return False
        found.add(path.relative_to(directory).as_posix())
    return found == set(names)


def remove_others(directory: pathlib.Path, names: Collection[str], growing: str) -> None:
    """Remove what is none of these files, nor the beginning of one: links, above all, through which would be written.

    Args:
        directory: A directory in a private folder.
        names: The files' names.
        growing: What the name of a file that has begun ends in. One that is linked from elsewhere is removed.
    """
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        directory.unlink()
        return
    known = set(names)
    for path in list(_below(directory)):
        status, name = path.lstat(), path.relative_to(directory).as_posix()
        has_begun = name.removesuffix(growing) in known and name.endswith(growing) and status.st_nlink == 1
        if not (stat.S_ISREG(status.st_mode) and is_mine(status) and (name in known or has_begun)):
            path.unlink()
    for folder, _, _ in os.walk(directory, topdown=False):
        below = pathlib.Path(folder).relative_to(directory).as_posix()
        if below in known or (below.endswith(growing) and below.removesuffix(growing) in known):
            shutil.rmtree(folder)


def _below(directory: pathlib.Path) -> list[pathlib.Path]:
    """Everything below that is no directory; a link is none."""
    found = []
    for folder, folders, files in os.walk(directory):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        found += [pathlib.Path(folder, name) for name in [*files, *links]]
    return found
