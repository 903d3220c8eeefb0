"""What was handed to the client and is still on its way to W&B.

Guarantees:

* :meth:`Uploads.follow` returns at once. A thread waits for one upload after the other, in the order in which they
  were handed over, and calls what is to be done then.
* The first upload that the server refuses is reported, with its name and where its files are; all are known by
  :meth:`Uploads.missing`. It ends nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tf_hfwb.background import Worker

_logger = logging.getLogger("tf_hfwb")


@dataclass
class Upload:
    """One artifact on its way.

    Attributes:
        artifact: The client's artifact, a draft until the server has all of it.
        name: Its name.
        path: The directory that is uploaded.
    """

    artifact: Any
    name: str
    path: str


class Uploads:
    """The uploads of one run."""

    def __init__(self) -> None:
        self._worker = Worker("tf_hfwb-uploads")
        self._announced: list[Upload] = []
        self._pending: list[Upload] = []
        self._refused: list[Upload] = []

    def announce(self, upload: Upload) -> None:
        """Count something as missing that is to be handed to the client."""
        self._announced.append(upload)

    def settle(self, upload: Upload) -> None:
        """Forget an announcement: it was handed over, or given up by :meth:`refuse`."""
        self._announced.remove(upload)

    def follow(self, upload: Upload, then: Callable[[Any], None] | None = None) -> None:
        """Wait for an upload in the background.

        Args:
            upload: What was handed to the client.
            then: Called on the waiting thread with the client's artifact, once the server has it, or with None if it
                was refused.
        """
        self._pending.append(upload)
        self._worker.submit(self._wait, upload, then)

    def _wait(self, upload: Upload, then: Callable[[Any], None] | None) -> None:
        logged = None
        try:
            logged = upload.artifact.wait()
        except Exception as error:
            if not self._refused:
                _logger.warning(
                    "W&B did not take %s (%s: %s). Training goes on; what is missing is said again at the end.",
                    described(upload),
                    type(error).__name__,
                    error,
                )
            self._refused.append(upload)
        self._pending.remove(upload)
        if then is not None:
            try:
                then(logged)
            except Exception as error:
                _logger.warning("After the upload of %s: %s: %s", upload.name, type(error).__name__, error)

    def refuse(self, upload: Upload) -> None:
        """Keep one in mind that could not even be handed over."""
        self._refused.append(upload)

    def pending(self, name: str | None = None) -> list[Upload]:
        """The uploads that are neither confirmed nor refused yet, oldest first; of one name, or all."""
        return [upload for upload in self._pending if name in (None, upload.name)]

    def missing(self) -> list[Upload]:
        """What the server does not have: refused, pending, or not even handed to the client."""
        return [*self._refused, *self._pending, *self._announced]

    def flush(self, timeout: float) -> bool:
        """Wait until all are confirmed, saying every half minute for what; False after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not self._worker.flush(min(30.0, max(0.0, end - time.monotonic()))):
            if time.monotonic() >= end:
                return False
            _logger.warning("Still uploading to W&B: %s.", ", ".join(map(described, self.pending())))
        return True

    def close(self) -> None:
        """End the thread, unless it is waiting for the server."""
        self._worker.close(timeout=1.0)


def described(upload: Upload) -> str:
    """An upload as messages name it."""
    return f"{upload.name} ({upload.path})"
