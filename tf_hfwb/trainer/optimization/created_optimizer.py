"""The optimizer that a subclass of the trainer has made: whether it can train the model, and its schedule."""

from __future__ import annotations

from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import Host
from tf_hfwb.trainer.constructor_checks import check_same_keras


def check_created(host: Host, optimizer: Any, schedule: Any) -> None:
    """Refuse what overridden methods made that cannot train the model.

    Args:
        host: The model.
        optimizer: ``trainer.optimizer`` after them.
        schedule: ``trainer.lr_scheduler``.

    Raises:
        SettingError: There is no optimizer, it is of the other Keras, or it accumulates gradients.
    """
    if optimizer is None:
        raise SettingError(
            "optimizer",
            None,
            expected="an optimizer, which create_optimizer or create_optimizer_and_scheduler makes",
            advice="Set self.optimizer in the method that you have overridden.",
        )
    check_same_keras(host, "create_optimizer", "optimizers", (optimizer, schedule))
    if (getattr(optimizer, "gradient_accumulation_steps", None) or 1) > 1:
        raise SettingError(
            "create_optimizer",
            f"gradient_accumulation_steps={optimizer.gradient_accumulation_steps}",
            expected="an optimizer that makes an update of each batch: the schedule's length was computed for that",
            advice="Pass such an optimizer as optimizers=(optimizer, None).",
        )


def follow_schedule(host: Host, optimizer: Any, schedule: Any) -> None:
    """Let an optimizer that was made with a constant rate follow a schedule; one that has a schedule keeps it.

    Args:
        host: The model.
        optimizer: The optimizer.
        schedule: A schedule of Keras, a constant rate, or None.
    """
    if callable(schedule) and host.constant_rate(optimizer) is not None:
        host.give_schedule(optimizer, schedule)
