"""A directory that is created for a purpose, and removed if that fails."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def new_directory(directory: pathlib.Path) -> Iterator[None]:
    """Create a directory, with those above it; if the block fails, they are removed, as far as they are empty.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     try:
        ...         with new_directory(pathlib.Path(name, "a", "b")):
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
