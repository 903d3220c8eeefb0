"""Numbered versions below a directory, as TensorFlow Serving watches it: each appears whole or not at all."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import uuid
from collections.abc import Iterator

from tf_hfwb.errors import SettingError


class Draft:
    """A version that is being written.

    Attributes:
        path: Where to write it: a directory that is there, and that no server takes for a version.
        published: The version's directory, after the block.
    """

    def __init__(self, path: pathlib.Path, published: pathlib.Path) -> None:
        self.path = path
        self.published = published


@contextlib.contextmanager
def new_version(directory: pathlib.Path, version: int | None) -> Iterator[Draft]:
    """Write a version in the block; it is published when the block ends, and leaves nothing when the block fails.

    Args:
        directory: What a server watches; made if it is not there.
        version: The version's number; the next free one when None.

    Raises:
        SettingError: The version is no number from 1, or is there already, or ``directory`` is a file.
    """
    check_version(directory, version)
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    # Servers look for names that are numbers only.
    path = directory / f".being-written-{uuid.uuid4().hex}"
    path.mkdir()
    draft = Draft(path, directory)
    try:
        yield draft
        draft.published = _publish(path, directory, version)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        for made in missing:
            with contextlib.suppress(OSError):  # Somebody else may have put something there.
                made.rmdir()
        raise


def check_version(directory: pathlib.Path, version: int | None) -> None:
    """See :func:`new_version`, whose errors it raises; called before the work begins."""
    if directory.exists() and not directory.is_dir():
        raise SettingError("directory", str(directory), expected="a directory, or a path where one can be made")
    if version is None:
        return
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise SettingError("version", version, expected="a whole number from 1, or None for the next free one")
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
            # Not over a directory: an empty one would be replaced, and one with files is an error of the system's.
            if not published.exists():
                path.rename(published)
                return published
        except OSError:
            if not published.exists():
                raise
        # Another export has taken the number meanwhile.
        check_version(directory, version)
