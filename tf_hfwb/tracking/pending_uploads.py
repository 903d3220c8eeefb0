"""The uploads that W&B has not confirmed yet.

Guarantees:

* An upload that was announced counts as missing until the server has confirmed it.
* :meth:`Uploads.follow` returns at once. A thread waits for one upload after the other, in the order in which they were
  handed to the client, and then calls the callback.
* The first upload that the server refuses is reported, with its name and where its files are; all are known by
  :meth:`Uploads.missing`. It ends nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tf_hfwb.background_worker import Worker
from tf_hfwb.messages import inform

_logger = logging.getLogger("tf_hfwb")


@dataclass
class Upload:
    """One artifact on its way.

    Attributes:
        name: Its name.
        path: The directory that is uploaded.
        artifact: The client's artifact, a draft until the server has all of it; None until the client has been handed
            the directory.
        is_refused: Whether the client or the server did not take it.
    """

    name: str
    path: str
    artifact: Any = None
    is_refused: bool = False


class Uploads:
    """The uploads of one run."""

    def __init__(self) -> None:
        self._worker = Worker("tf_hfwb-uploads")
        self._missing: list[Upload] = []

    def announce(self, name: str, path: str) -> Upload:
        """Count a directory as missing from now on."""
        upload = Upload(name, path)
        self._missing.append(upload)
        return upload

    def follow(self, upload: Upload, artifact: Any, then: Callable[[Any], None] | None = None) -> None:
        """Wait in the background for an upload that was handed to the client.

        Args:
            upload: The upload, announced before.
            artifact: The client's artifact.
            then: Called on the waiting thread with the client's artifact, once the server has it, or with None if it
                was refused.
        """
        upload.artifact = artifact
        self._worker.submit(self._wait, upload, then)

    def _wait(self, upload: Upload, then: Callable[[Any], None] | None) -> None:
        logged = None
        try:
            logged = upload.artifact.wait()
            self.settle(upload)
        except Exception as error:
            if not any(other.is_refused for other in self._missing):
                _logger.warning(
                    "W&B did not take %s (%s: %s). Training goes on; what is missing is said again at the end.",
                    describe_upload(upload),
                    type(error).__name__,
                    error,
                )
            upload.is_refused = True
        if then is not None:
            try:
                then(logged)
            except Exception as error:
                _logger.warning("After the upload of %s: %s: %s", upload.name, type(error).__name__, error)

    def settle(self, upload: Upload) -> None:
        """Count an upload as done: it is on the server, or the client of an offline run has taken it."""
        self._missing.remove(upload)

    def pending(self, name: str | None = None) -> list[Upload]:
        """The uploads that the client is doing, oldest first; of one name, or all."""
        uploading = [upload for upload in self._missing if upload.artifact is not None and not upload.is_refused]
        return [upload for upload in uploading if name in (None, upload.name)]

    def missing(self) -> list[Upload]:
        """The uploads that the server does not have, oldest first."""
        return list(self._missing)

    def flush(self, timeout: float) -> bool:
        """Wait until all are confirmed, saying every half minute for what; False after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not self._worker.flush(min(30.0, max(0.0, end - time.monotonic()))):
            if time.monotonic() >= end:
                return False
            inform("Still uploading to W&B: %s.", ", ".join(map(describe_upload, self.pending())))
        return True

    def close(self) -> None:
        """End the thread, unless it is waiting for the server."""
        self._worker.close(timeout=1.0)


def describe_upload(upload: Upload) -> str:
    """The name and the place of an upload, for messages."""
    return f"{upload.name} ({upload.path})"
