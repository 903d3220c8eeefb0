"""JSON that any reader accepts, and a strict reader for that of others.

Python writes NaN and infinity as tokens that are not JSON. Here they are written as words, the same as W&B's.
:func:`number_of` turns the word back where a value must be a number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_HUGE = 10**300  # A float cannot hold much more.


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Write a value as JSON, with words for the numbers that JSON does not have.

    Example:
        >>> dumps({"loss": float("nan"), "best": [float("-inf"), 0.5]})
        '{"loss": "NaN", "best": ["-Infinity", 0.5]}'
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:  # Rare, so only then is every value looked at.
        return json.dumps(_in_words(value), indent=indent, allow_nan=False)


def line(text: str) -> str:
    """Rewrite a line of JSON that Python wrote as :func:`dumps` would have written it."""
    return dumps(json.loads(text)) if "NaN" in text or "Infinity" in text else text


def loads(data: bytes) -> Any:
    """Read a JSON text; Python's own tokens for NaN and infinity are accepted, too.

    Raises:
        ValueError: It is not JSON in UTF-8, has a key twice, half a surrogate pair or a number of thousands of digits,
            or is nested too deep.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_refuse_double_keys)
        if b"\\ud" in data or b"\\uD" in data:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return value


def number_of(value: Any) -> float | None:
    """The number that a JSON value is, one of the three words included; None for anything else.

    Example:
        >>> number_of("NaN"), number_of(3), number_of("3"), number_of(True)
        (nan, 3, None, None)
    """
    if isinstance(value, str):
        return _WORDS.get(value)
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < _HUGE):
        return value
    return None


def _in_words(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _in_words(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_in_words(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return "NaN"
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _refuse_double_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has the key {next(name for name in names if names.count(name) > 1)!r} twice")
    return found
