"""Whether a model trains that is called without ``training``, as the functions of PyTorch users call it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class TrainingMode:
    """The mode of a step, as long as its loss is computed."""

    def __init__(self) -> None:
        self._of_thread = threading.local()  # TensorFlow traces each replica on a thread of its own.

    def __call__(self) -> bool | None:
        """Whether the step trains; None outside of any."""
        training: bool | None = getattr(self._of_thread, "training", None)
        return training

    @contextlib.contextmanager
    def set_to(self, training: bool) -> Iterator[None]:
        """Within this context a step trains, or evaluates."""
        before = self()
        self._of_thread.training = training
        try:
            yield
        finally:
            self._of_thread.training = before
