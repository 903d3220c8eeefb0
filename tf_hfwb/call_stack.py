"""Which calls are under way: Keras does not tell callbacks what ``fit`` was called with, nor that it has failed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from types import FrameType
from typing import Any


def calls_of(frame: FrameType | None, names: Collection[str], owner: Any) -> Iterator[FrameType]:
    """The calls of an object's methods that a frame is in, innermost first.

    Args:
        frame: Where to begin; None has no calls.
        names: The names of the methods.
        owner: The object, as ``self`` in them.
    """
    while frame is not None:
        if frame.f_code.co_name in names and frame.f_locals.get("self") is owner:
            yield frame
        frame = frame.f_back
