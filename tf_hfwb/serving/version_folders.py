"""Numbered versions in a directory that TensorFlow Serving watches: each appears whole or not at all."""

from __future__ import annotations

import contextlib
import pathlib
import re
import shutil
import uuid
from collections.abc import Iterator

import filelock

from tf_hfwb.checkpoint.fsync import sync_directory, sync_tree
from tf_hfwb.errors import SettingError
from tf_hfwb.validation.argument_checks import check_whole_number
from tf_hfwb.validation.new_directory import new_directory

_DRAFT = ".being-written-"


class Draft:
    """A version that is being written.

    Attributes:
        path: The directory to write it into, which no server takes for a version.
        published: The version's directory, once it is published.
    """

    def __init__(self, path: pathlib.Path, published: pathlib.Path) -> None:
        self.path = path
        self.published = published


@contextlib.contextmanager
def new_version(directory: pathlib.Path, version: int | None) -> Iterator[Draft]:
    """Write a version in the block; it is published when the block ends, and leaves nothing when the block fails.

    What is published survives a power cut. Drafts of processes that were killed are removed.

    Args:
        directory: The directory that a server watches; created if it does not exist.
        version: The version's number; the next free one when None.

    Raises:
        SettingError: The version is not a number from 1, or exists already, or ``directory`` is a file.
    """
    check_version(directory, version)
    with new_directory(directory):
        _sweep(directory)
        # Servers look for names that are numbers only.
        path = directory / f"{_DRAFT}{uuid.uuid4().hex}"
        lock = filelock.FileLock(_lock_of(path))
        draft = Draft(path, directory)
        with lock:
            try:
                path.mkdir()
                yield draft
                sync_tree(path)
                draft.published = _publish(path, directory, version)
                sync_directory(directory)
            finally:
                shutil.rmtree(path, ignore_errors=True)
                _lock_of(path).unlink(missing_ok=True)


def _lock_of(draft: pathlib.Path) -> pathlib.Path:
    """The lock beside a draft, which the process that writes it holds until it ends."""
    return draft.with_name(f"{draft.name}.lock")


def _sweep(directory: pathlib.Path) -> None:
    """Remove drafts of processes that were killed."""
    for path in [*directory.glob(f"{_DRAFT}*")]:
        draft = path.with_name(path.name.removesuffix(".lock"))
        if not re.fullmatch("[0-9a-f]{32}", draft.name.removeprefix(_DRAFT)):
            continue  # It belongs to somebody else.
        with contextlib.suppress(filelock.Timeout, OSError), filelock.FileLock(_lock_of(draft), timeout=0):
            shutil.rmtree(draft, ignore_errors=True)
            _lock_of(draft).unlink(missing_ok=True)


def check_version(directory: pathlib.Path, version: int | None) -> None:
    """Raise the errors of :func:`new_version` before the work begins."""
    if directory.exists() and not directory.is_dir():
        raise SettingError("directory", str(directory), expected="a directory, or a path where one can be made")
    if version is None:
        return
    check_whole_number("version", version, expected="a whole number from 1, or None for the next free one")
    if (directory / str(version)).exists():
        raise SettingError(
            "version",
            version,
            expected=f"a number that is not in {directory} yet; there are {', '.join(map(str, versions(directory)))}",
            advice="Leave it out to take the next one.",
        )


def versions(directory: pathlib.Path) -> list[int]:
    """The versions in a directory, in ascending order."""
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isascii() and path.name.isdigit())


def _publish(path: pathlib.Path, directory: pathlib.Path, version: int | None) -> pathlib.Path:
    while True:
        number = version if version is not None else max(versions(directory), default=0) + 1
        published = directory / str(number)
        try:
            # Never onto a directory: an empty one would be replaced.
            if not published.exists():
                path.rename(published)
                return published
        except OSError:
            if not published.exists():
                raise
        # Another export has taken the number meanwhile.
        check_version(directory, version)
