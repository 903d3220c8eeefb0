"""Files that a user's function adds to checkpoints.

It is called on the training thread, with the model as it is at that step. What it has written waits beside the
checkpoints, and becomes part of its own when that is written.
"""

from __future__ import annotations

import filecmp
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable

from tf_hfwb.checkpoint.manifest import MANIFEST
from tf_hfwb.checkpoint.step_names import checkpoint_name
from tf_hfwb.checkpoint.store import Draft, Store
from tf_hfwb.checkpoint.temporary_names import DRAFT, unused_name
from tf_hfwb.keras_compat import Host

_logger = logging.getLogger("tf_hfwb")


class AddedFiles:
    """Lets a function write into each checkpoint.

    Args:
        write: Writes into a directory.
    """

    def __init__(self, write: Callable[[pathlib.Path], None]) -> None:
        self.write = write
        self._warned = False

    def warn_of_names(self, names: list[str]) -> None:
        """Say once that files were left out."""
        if self._warned:
            return
        self._warned = True
        _logger.warning(
            "save_model wrote %s into a checkpoint, which has other files of these names. Expected names of its own: "
            "training resumes from the checkpoint's. They are left out; this is said once. Give them other names; "
            "super().save_model(output_dir) is enough for the model.",
            ", ".join(sorted(names)),
        )


class TakenFiles:
    """What the function has written for one checkpoint.

    Args:
        owner: Whose function it was.
        directory: Where it has written.
    """

    def __init__(self, owner: AddedFiles, directory: pathlib.Path) -> None:
        self._owner = owner
        self._directory = directory

    def put_into(self, draft: Draft) -> None:
        """Move the files into a draft that has all files of its own: those stay, since training resumes from them."""
        left_out = []
        for folder, _, names in os.walk(self._directory):
            for name in names:
                source = pathlib.Path(folder, name)
                relative = source.relative_to(self._directory)
                target = draft.path / relative
                if not (os.path.lexists(target) or relative == pathlib.Path(MANIFEST)):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.rename(source, target)
                elif not _are_same(source, target):
                    left_out.append(str(relative))
        shutil.rmtree(self._directory.parent, ignore_errors=True)
        if left_out:
            self._owner.warn_of_names(left_out)


def take_files(added: AddedFiles | None, host: Host, store: Store, step: int) -> TakenFiles | None:
    """Have a user's function write its files for a checkpoint; None without one, and on workers that save nothing.

    Args:
        added: The function.
        host: The model.
        store: Where the checkpoint will be.
        step: Its global step.
    """
    if added is None:
        return None
    host.show_weights()
    name = checkpoint_name(step)
    # A draft is swept away after a kill. Reading what workers share needs all of them, so the others write elsewhere.
    place = unused_name(store.path / name, DRAFT) if host.is_chief else pathlib.Path(tempfile.mkdtemp())
    (place / name).mkdir(parents=True)  # Its name tells the function the step.
    is_kept = False
    try:
        added.write(place / name)
        is_kept = host.is_chief
    finally:
        if not is_kept:
            shutil.rmtree(place, ignore_errors=True)
    return TakenFiles(added, place / name) if is_kept else None


def _are_same(one: pathlib.Path, other: pathlib.Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
