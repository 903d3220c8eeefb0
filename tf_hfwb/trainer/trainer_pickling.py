"""A trainer that another process makes anew: models, optimizers and W&B runs cannot be sent there."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


def constructor_arguments(trainer: Any, base: type) -> dict[str, Any]:
    """What the trainer was made of, without a model.

    Args:
        trainer: A trainer, which keeps what it is given under the names of the arguments.
        base: The class whose constructor it is.
    """
    names = [name for name in inspect.signature(base).parameters if name not in ("model", "tokenizer", "tb_writer")]
    return {name: getattr(trainer, name) for name in names if hasattr(trainer, name)}


def added_attributes(trainer: Any, base: type, made: set[str]) -> dict[str, Any]:
    """What a subclass has added, and what a search has set.

    Args:
        trainer: The trainer.
        base: As for :func:`constructor_arguments`. Its attributes that are set later are declared in it or its bases.
        made: The names of what its constructor has set.
    """
    declared = {name for one in base.__mro__ for name in vars(one).get("__annotations__", {})}
    known = (declared | made) - {"compute_objective"}
    return {name: value for name, value in vars(trainer).items() if name not in known}


def make_again(kind: type, base: type, arguments: Mapping[str, Any], attributes: Mapping[str, Any]) -> Any:
    """A trainer of a class of the user's, whose own constructor is not called."""
    trainer: Any = object.__new__(kind)
    vars(trainer).update(attributes)
    base.__init__(trainer, **arguments)  # type: ignore[misc]
    return trainer
