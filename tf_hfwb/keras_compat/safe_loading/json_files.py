"""JSON files of models, which somebody else may have written."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from tf_hfwb.errors import CorruptCheckpointError


def read_object(path: pathlib.Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        CorruptCheckpointError: It cannot be read, or holds something else.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    return parse_object(content, path)


def parse_object(content: bytes, path: pathlib.Path) -> dict[str, Any]:
    """The object in the content of a file, which may be a part of another one.

    Raises:
        CorruptCheckpointError: It holds something else.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise unreadable(path, error) from error
    if not isinstance(value, dict):
        raise unreadable(path, f"there is {type(value).__name__} instead of an object")
    return value


def unreadable(path: pathlib.Path, reason: object) -> CorruptCheckpointError:
    """The error for a file that is damaged."""
    return CorruptCheckpointError(
        f"{path} cannot be read: {reason}. Expected a model as Keras's model.save(...) writes it, with its "
        "configuration as JSON. Save or copy the model again, or use another checkpoint."
    )
