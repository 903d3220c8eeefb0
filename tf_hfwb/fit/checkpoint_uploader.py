"""What uploads checkpoints to another place than W&B."""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol

from tf_hfwb.checkpoint.store import Checkpoint


class CheckpointUploader(Protocol):
    """Told of each checkpoint of a fit."""

    @property
    def uploading(self) -> Set[int]:
        """The steps whose checkpoints stay, since their files are still being read."""

    def saved(self, checkpoint: Checkpoint, step: int, epoch: float) -> None:
        """A checkpoint is on disk; called on the thread that writes.

        Args:
            checkpoint: The checkpoint.
            step: Its global step.
            epoch: Its epoch, with its fraction.
        """

    def wait(self) -> None:
        """The last checkpoint is on disk: wait until everything is uploaded."""
