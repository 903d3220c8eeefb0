"""The names of checkpoints: ``checkpoint-{step}``."""

from __future__ import annotations

import pathlib
import re

_PREFIX = "checkpoint-"


def checkpoint_name(step: int) -> str:
    """The name of the directory of a step's checkpoint.

    Example:
        >>> checkpoint_name(500)
        'checkpoint-500'
    """
    return f"{_PREFIX}{step}"


def step_of(path: pathlib.Path) -> int | None:
    """The step in the name of a checkpoint's directory; None for other names.

    Example:
        >>> step_of(pathlib.Path("out/checkpoint-500"))
        500
        >>> step_of(pathlib.Path("checkpoint-my-run"))
    """
    match = re.fullmatch(f"{_PREFIX}([0-9]+)", path.name)
    return int(match[1]) if match else None


def paths_with_prefix(directory: pathlib.Path) -> list[pathlib.Path]:
    """Everything in a directory whose name begins as a checkpoint's."""
    return list(directory.glob(f"{_PREFIX}*"))
