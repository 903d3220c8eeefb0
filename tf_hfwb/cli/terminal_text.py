"""Words that others chose, for a terminal."""

from __future__ import annotations


def plain_text(words: str) -> str:
    """Words with nothing in them that moves a cursor or changes a color: such signs are shown as Python writes them.

    Example:
        >>> plain_text("a\\x1b[31mb")
        'a\\\\x1b[31mb'
    """
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in words)
