"""Checks of the values of a JSON file, declared once for the whole file, and made before any of it is used.

A check takes a value and its place in the file, for messages. It returns the value, with NaN and infinity as floats,
whichever way they are written.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tf_hfwb.json_text import number_of

Check = Callable[[Any, str], Any]


class UnexpectedValueError(ValueError):
    """A value is not what it must be. The message says which one, and what was expected."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"{found}. Expected {expected}.")


def unexpected(value: Any, place: str, expected: str) -> UnexpectedValueError:
    """The error for a value at a place."""
    return UnexpectedValueError(f"{place or 'it'} is {reprlib.repr(value)}", expected)


def whole(least: int = 0, most: int = 2**53) -> Check:
    """A number such as a step."""

    def check(value: Any, place: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise unexpected(value, place, f"a whole number from {least} to {most}")
        return value

    return check


def number(value: Any, place: str) -> float:
    """Any number, NaN and infinity too."""
    found = number_of(value)
    if found is None:
        raise unexpected(value, place, "a number")
    return found


def text(value: Any, place: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise unexpected(value, place, "a string")
    return value


def optional(check: Check) -> Check:
    """What ``check`` accepts, or null."""
    return lambda value, place: None if value is None else check(value, place)


def series(check: Check) -> Check:
    """A list of any length."""

    def check_value(value: Any, place: str) -> list[Any]:
        if not isinstance(value, list):
            raise unexpected(value, place, "a list")
        return [check(inner, f"{place}[{index}]") for index, inner in enumerate(value)]

    return check_value


def parts(*checks: Check) -> Check:
    """A list of exactly so many values."""

    def check_value(value: Any, place: str) -> list[Any]:
        if not isinstance(value, list) or len(value) != len(checks):
            raise unexpected(value, place, f"a list of {len(checks)}")
        return [check(inner, f"{place}[{n}]") for n, (check, inner) in enumerate(zip(checks, value, strict=True))]

    return check_value


def table(check: Check) -> Check:
    """An object with any keys."""

    def check_value(value: Any, place: str) -> dict[str, Any]:
        return {name: check(inner, _inside(place, name)) for name, inner in _object(value, place).items()}

    return check_value


def anything(value: Any, place: str) -> Any:
    """Any value; nothing of it is used."""
    return value


def record(required: Mapping[str, Check], may_have: Mapping[str, Check] | None = None, *, exact: bool = False) -> Check:
    """An object with known keys.

    Args:
        required: The keys that it must have.
        may_have: The keys that it may have, too.
        exact: Whether other keys are refused. If not, they are kept.
    """
    checks = {**required, **(may_have or {})}

    def check_value(value: Any, place: str) -> dict[str, Any]:
        found = _object(value, place)
        missing = sorted(required.keys() - found.keys())
        if missing or (exact and found.keys() - checks.keys()):
            odd = missing or sorted(found.keys() - checks.keys())
            how = "is missing" if missing else "is not known"
            raise UnexpectedValueError(f"{_inside(place, odd[0])} {how}", f"the keys {', '.join(checks)}")
        return {
            name: checks[name](inner, _inside(place, name)) if name in checks else inner
            for name, inner in found.items()
        }

    return check_value


def one_of(values: Sequence[Any]) -> Check:
    """One of some values."""

    def check(value: Any, place: str) -> Any:
        if not any(type(value) is type(known) and value == known for known in values):
            raise unexpected(value, place, " or ".join(map(repr, values)))
        return value

    return check


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise unexpected(value, place, "an object")
    return value


def _inside(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
