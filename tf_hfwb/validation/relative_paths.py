"""Checks of file names from outside, such as a manifest's, before they are joined to a directory.

Guarantees:

* A name that passes, joined to a directory, is a path within it, on every operating system.
* A path is written in one way: no two names that pass are the same path.

Does not: look at the disk. A link there may still lead outside: ``regular_files.py`` finds it when a file is opened.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable

_LONGEST = 4096  # More than any system accepts.
_DRIVE = re.compile("[A-Za-z]:")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # NUL, which the system refuses, and what controls a terminal.


def check_path(name: object) -> str:
    """Check that a name is a safe path within a directory, with ``/`` between its parts, and return it.

    Args:
        name: The name, of any type.

    Raises:
        ValueError: It is not; the message is a clause with the name in it.

    Example:
        >>> check_path("assets/vocab.txt")
        'assets/vocab.txt'
        >>> check_path("../vocab.txt")
        Traceback (most recent call last):
            ...
        ValueError: it names a file outside of its directory, '../vocab.txt'
    """
    if not isinstance(name, str):
        raise ValueError(f"it names a file {name!r}, which is no text")
    if len(name) > _LONGEST:
        raise ValueError(f"it names a file with a name of {len(name)} characters")
    parts = name.split("/")
    if not parts[0] or ".." in parts or "\\" in name or _DRIVE.match(name):
        raise ValueError(f"it names a file outside of its directory, {name!r}")
    if "" in parts or "." in parts:
        raise ValueError(f"it names a file in more than one way, {name!r}")
    if _CONTROL.search(name) or not _is_encodable(name):
        raise ValueError(f"it names a file with a character that no name has, {name!r}")
    return name


def check_paths(names: Iterable[object]) -> list[str]:
    """Check that each name is safe, and is another file than the others on every file system; return them.

    Some file systems do not tell ``A`` from ``a``, or the two spellings of ``é`` in Unicode.

    Raises:
        ValueError: One is not safe, or two are one file, or one is a directory for another.

    Example:
        >>> check_paths(["a", "A"])
        Traceback (most recent call last):
            ...
        ValueError: it names one file twice, 'a' and 'A'
    """
    found: dict[str, str] = {}
    for name in map(check_path, names):
        folded = _fold(name)
        if folded in found:
            raise ValueError(f"it names one file twice, {found[folded]!r} and {name!r}")
        found[folded] = name
    in_order = sorted(found, key=lambda folded: folded.split("/"))  # So a directory is right before its contents.
    for above, below in itertools.pairwise(in_order):
        if below.startswith(f"{above}/"):
            raise ValueError(f"it names a file within a file, {found[above]!r} and {found[below]!r}")
    return [*found.values()]


def _is_encodable(name: str) -> bool:
    """Whether it has no half of a pair of surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
