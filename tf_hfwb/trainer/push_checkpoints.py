"""The callback that pushes checkpoints to the Hub."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.fit_callback import FitCallback
from tf_hfwb.keras_compat import Logs
from tf_hfwb.trainer.hub_uploads import HubUploads


class PushCheckpoints(FitCallback):
    """Pushes each checkpoint as soon as it is on disk, and keeps it there until it has arrived.

    Args:
        uploads: Where it pushes to.
        by_epochs: Whether epochs are saved: the commit's message names the epoch and not the step.
    """

    place = CallbackPlace.OTHERS

    def __init__(self, uploads: HubUploads, *, by_epochs: bool) -> None:
        super().__init__()
        self._uploads = uploads
        self._by_epochs = by_epochs
        self._pushes: dict[int, Future[Any]] = {}

    @property
    def uploading(self) -> set[int]:
        """The steps whose checkpoints are not there yet."""
        return {step for step, push in self._pushes.items() if not push.done()}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Be told of checkpoints."""
        self._find_session().uploaders.append(self)

    def saved(self, checkpoint: Checkpoint, step: int, epoch: float) -> None:
        """Push it, on a thread of the Hub's client."""
        where = f"epoch {int(epoch)}" if self._by_epochs else f"step {step}"
        push = self._uploads.push_checkpoint(checkpoint.path, f"Training in progress, {where}")
        if push is not None:
            self._pushes[step] = push

    def wait(self) -> None:
        """Wait until the Hub has everything, and say what it has not taken."""
        self._uploads.finish()
