"""Make room in an output directory without removing what is somebody else's.

Guarantees:

* Files are removed that the manifest of a checkpoint names, and what lies under a temporary name. Of a checkpoint that
  holds other files, too, those are kept, in a directory ``not-ours-{name}-{random}``.
* What is no checkpoint, or one that is not understood, is renamed so as a whole.
* No link is followed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import shutil

from tf_hfwb.checkpoint.disk_sync import sync_directory
from tf_hfwb.checkpoint.manifest import MANIFEST, Checkpoint
from tf_hfwb.checkpoint.regular_files import names_in, size_of
from tf_hfwb.checkpoint.temporary_names import NOT_OURS, beside, parts_of
from tf_hfwb.errors import CheckpointError

_logger = logging.getLogger("tf_hfwb")


def files_of(path: pathlib.Path) -> set[str] | None:
    """The files in a directory that are ours; None where that cannot be known, or where it is a link."""
    if path.is_symlink():
        return None
    try:
        return {*Checkpoint.described(path).files, MANIFEST}
    except CheckpointError:
        return None


def kept_aside(path: pathlib.Path) -> pathlib.Path:
    """The name under which something is kept that is not ours, or not understood."""
    found = parts_of(path.name)
    return beside(path if found is None else path.with_name(found[1]), NOT_OURS)


def discard(path: pathlib.Path) -> None:
    """Remove a directory under a temporary name, which nobody reads any more."""
    files = files_of(path)
    if path.is_symlink() or (files is not None and not files.issuperset(names_in(path))):
        aside = kept_aside(path)
        with contextlib.suppress(OSError):  # Then it is left for the next one who sweeps.
            os.rename(path, aside)
            sync_directory(aside.parent)  # Before the manifest goes, without which all would be taken for ours.
            _logger.warning("%s holds what this package has not written, and is kept.", aside)
            _remove(aside, files or set())
    else:
        shutil.rmtree(path, ignore_errors=True)  # Also without a manifest: somebody was killed while he removed it.


def _remove(directory: pathlib.Path, files: set[str]) -> None:
    for name in sorted(files, key=lambda name: name == MANIFEST):  # It last: it tells what is still to be removed.
        with contextlib.suppress(OSError):
            size_of(directory, name)  # Or it lies beyond a link.
            os.unlink(directory / name)
    for path in sorted(directory.rglob("*"), reverse=True):
        with contextlib.suppress(OSError):  # It is no directory, or not empty.
            os.rmdir(path)
