"""The learning rate of a model's optimizer: a constant or a schedule."""

from __future__ import annotations

import abc
from typing import Any

from tf_hfwb.keras_compat.distributed_model import DistributedModel


class LearningRates(DistributedModel, abc.ABC):
    """What is asked of and done to the learning rate of a model."""

    @property
    @abc.abstractmethod
    def optimizer(self) -> Any:
        """The optimizer."""

    @abc.abstractmethod
    def learning_rate(self, iterations: int) -> Any:
        """The rate used by the last update, as something that :func:`to_float` turns into a float later.

        Args:
            iterations: The optimizer's counter after that update.
        """

    def set_learning_rate(self, rate: float) -> None:
        """Train with another constant rate from the next step on.

        Raises:
            TypeError: The optimizer has a schedule.
        """
        innermost(self.optimizer).learning_rate = rate

    @abc.abstractmethod
    def constant_rate(self, optimizer: Any) -> float | None:
        """The rate of an optimizer that has no schedule; None of one that has."""

    def give_schedule(self, optimizer: Any, schedule: Any) -> None:
        """Let an optimizer that was made with a constant rate follow a schedule."""
        with self.scope():
            innermost(optimizer).learning_rate = schedule


def innermost(optimizer: Any) -> Any:
    """The optimizer inside the one that scales the loss, if it is one that does."""
    return getattr(optimizer, "inner_optimizer", optimizer)
