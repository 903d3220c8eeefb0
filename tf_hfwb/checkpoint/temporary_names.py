"""Names beside the checkpoints of an output directory: for what is being written or removed, and what is kept aside.

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


def beside(path: pathlib.Path, prefix: str) -> pathlib.Path:
    """Another name for a directory, under which nothing is yet."""
    return path.with_name(f"{prefix}{path.name}-{uuid.uuid4().hex[:8]}")


def parts_of(name: str) -> tuple[str, str] | None:
    """The prefix of a temporary name, and the name for which it stands; None for any other name.

    Example:
        >>> parts_of(".tmp-replaced-checkpoint-10-0a1b2c3d")
        ('.tmp-replaced-', 'checkpoint-10')
        >>> parts_of(".tmp-draft-of-my-thesis")
    """
    match = _NAME.fullmatch(name)
    return None if match is None else (match[1], match[2])


def missing_of(names: Iterable[str]) -> dict[str, str]:
    """What was renamed to be replaced while nothing has come in its place yet: temporary name, by its own name."""
    there = set(names)
    replaced = {found[1]: name for name in there if (found := parts_of(name)) is not None and found[0] == REPLACED}
    return {own: name for own, name in replaced.items() if own not in there}


def is_being_replaced(path: pathlib.Path) -> bool:
    """Whether a directory is between the two renames of a replacement; after a kill it is so until somebody sweeps."""
    try:
        return path.name in missing_of(os.listdir(path.parent))
    except OSError:
        return False
