"""Settings with which the backend of a model computes."""

from __future__ import annotations

import abc
from contextlib import AbstractContextManager


class BackendSettings(abc.ABC):
    """What is asked of the backend of a model; most of it holds for the whole process."""

    @abc.abstractmethod
    def make_deterministic(self) -> None:
        """Let the backend compute the same bits every time."""

    def check_settings(self, *, use_cpu: bool, tf32: bool | None, xla: bool) -> None:
        """Refuse settings that the backend takes at its start only, or does not have.

        Args:
            use_cpu: Whether to compute on the CPU.
            tf32: Whether GPUs may multiply float32 as TensorFloat-32; None where it does not matter.
            xla: Whether XLA is to compile the steps.

        Raises:
            SettingError: One of them cannot be obeyed now.
        """
        del use_cpu, tf32, xla  # TensorFlow takes them at any time.

    @abc.abstractmethod
    def checks_of_numbers(self) -> AbstractContextManager[None]:
        """Stop a training within this context at the first NaN, by an error of the backend."""
