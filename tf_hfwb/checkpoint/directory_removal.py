"""Remove old checkpoints from an output directory, and nothing that somebody else wrote.

Guarantees:

* Only files that the manifest of a checkpoint names are removed, and directories under a temporary name. Other files in
  a checkpoint are kept, in a directory ``not-ours-{name}-{random}``.
* What is not a checkpoint, or one that cannot be understood, gets such a name as a whole.
* No link is followed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import shutil

from tf_hfwb.checkpoint.fsync import sync_directory
from tf_hfwb.checkpoint.manifest import MANIFEST, Checkpoint
from tf_hfwb.checkpoint.regular_files import names_in, size_of
from tf_hfwb.checkpoint.temporary_names import NOT_OURS, parse_temporary_name, unused_name
from tf_hfwb.errors import CheckpointError

_logger = logging.getLogger("tf_hfwb")


def files_of(path: pathlib.Path) -> set[str] | None:
    """The files of the checkpoint in a directory; None where they cannot be known, or where it is a link."""
    if path.is_symlink():
        return None
    try:
        return {*Checkpoint.read_manifest(path).files, MANIFEST}
    except CheckpointError:
        return None


def name_to_keep(path: pathlib.Path) -> pathlib.Path:
    """The name under which files are kept that are not ours."""
    parsed = parse_temporary_name(path.name)
    if parsed is not None:
        path = path.with_name(parsed[1])
    return unused_name(path, NOT_OURS)


def discard(path: pathlib.Path) -> None:
    """Remove a directory under a temporary name, which nobody reads any more."""
    files = files_of(path)
    if path.is_symlink() or (files is not None and not files.issuperset(names_in(path))):
        aside = name_to_keep(path)
        with contextlib.suppress(OSError):  # Then it is left for the next sweep.
            os.rename(path, aside)
            sync_directory(aside.parent)  # Before the manifest is removed, without which all files would count as ours.
            _logger.warning("%s holds what this package has not written, and is kept.", aside)
            _remove(aside, files or set())
    else:
        shutil.rmtree(path, ignore_errors=True)  # Also without a manifest: a process was killed while it removed it.


def _remove(directory: pathlib.Path, files: set[str]) -> None:
    for name in sorted(files, key=lambda name: name == MANIFEST):  # Last, as it tells what is still to be removed.
        with contextlib.suppress(OSError):
            size_of(directory, name)  # Or it lies beyond a link.
            os.unlink(directory / name)
    for path in sorted(directory.rglob("*"), reverse=True):
        with contextlib.suppress(OSError):  # It is not a directory, or not empty.
            os.rmdir(path)
