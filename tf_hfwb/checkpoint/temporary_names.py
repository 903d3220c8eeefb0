"""Names beside the checkpoints of an output directory: for what is being written, removed or kept.

A directory under one of the three temporary names is ours; ``{name}-{8 random hexadecimal digits}`` follows the prefix.
"""

from __future__ import annotations

import os
import pathlib
import re
import uuid
from collections.abc import Iterable

DRAFT = ".tmp-draft-"
REPLACED = ".tmp-replaced-"
REMOVED = ".tmp-removed-"
NOT_OURS = "not-ours-"

_NAME = re.compile(rf"({'|'.join(map(re.escape, (DRAFT, REPLACED, REMOVED)))})(.+)-[0-9a-f]{{8}}", re.DOTALL)


def unused_name(path: pathlib.Path, prefix: str) -> pathlib.Path:
    """Another name beside a path, under which nothing exists yet."""
    return path.with_name(f"{prefix}{path.name}-{uuid.uuid4().hex[:8]}")


def parse_temporary_name(name: str) -> tuple[str, str] | None:
    """The prefix of a temporary name, and the name for which it stands; None for any other name.

    Example:
        >>> parse_temporary_name(".tmp-replaced-checkpoint-10-0a1b2c3d")
        ('.tmp-replaced-', 'checkpoint-10')
        >>> parse_temporary_name(".tmp-draft-of-my-thesis")
    """
    match = _NAME.fullmatch(name)
    return None if match is None else (match[1], match[2])


def find_interrupted(names: Iterable[str]) -> dict[str, str]:
    """The directories whose replacement is half done: each temporary name, by the name that nothing has yet."""
    existing = set(names)
    interrupted = {}
    for name in existing:
        parsed = parse_temporary_name(name)
        if parsed is not None:
            prefix, own_name = parsed
            if prefix == REPLACED and own_name not in existing:
                interrupted[own_name] = name
    return interrupted


def is_being_replaced(path: pathlib.Path) -> bool:
    """Whether a directory is between the two renames of a replacement; after a kill it stays so until a sweep."""
    try:
        return path.name in find_interrupted(os.listdir(path.parent))
    except OSError:
        return False
