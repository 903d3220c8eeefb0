"""Directories that are made for something, and gone again if it fails."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def made(directory: pathlib.Path) -> Iterator[None]:
    """Make a directory, with those above it; what was made is removed when the block fails, unless it holds something.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     try:
        ...         with made(pathlib.Path(name, "a", "b")):
        ...             raise RuntimeError
        ...     except RuntimeError:
        ...         print(list(pathlib.Path(name).iterdir()))
        []
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in missing:
            with contextlib.suppress(OSError):  # Somebody else may have put something there.
                path.rmdir()
        raise
