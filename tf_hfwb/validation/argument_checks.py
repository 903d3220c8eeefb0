"""Checks of arguments that several constructors take."""

from __future__ import annotations

import enum
import operator
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_hfwb.errors import SettingError


def as_integer(value: Any) -> int | None:
    """The value as an ``int``, if it is one or one of NumPy's; else None. ``True`` is not a number.

    Example:
        >>> import numpy as np
        >>> as_integer(np.int64(3)), as_integer(True), as_integer(3.0)
        (3, None, None)
    """
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def check_whole_number(name: str, value: Any, *, minimum: int = 1, expected: str = "") -> int:
    """Check that an argument is a whole number, and return it as an ``int``.

    Args:
        name: The argument's name.
        value: What was given.
        minimum: The smallest number that is accepted.
        expected: What is expected, for the message.

    Raises:
        SettingError: It is not an integer (``True`` is not one), or too small.

    Example:
        >>> import numpy as np
        >>> check_whole_number("patience", np.int64(3))
        3
    """
    number = as_integer(value)
    if number is None or number < minimum:
        raise SettingError(name, value, expected=expected or f"a whole number, {minimum} or more")
    return number


def check_directory(name: str, value: Any) -> str:
    """Check the path of a directory, and return it as a string, with the user's home in place of ``~``.

    Args:
        name: The argument's name.
        value: What was given.

    Raises:
        SettingError: It is not a path, is empty, has a NUL byte, or names a user who does not exist.

    Example:
        >>> import pathlib
        >>> check_directory("output_dir", pathlib.Path("out"))
        'out'
    """
    if not isinstance(value, (str, bytes, os.PathLike)) or not os.fspath(value):
        raise SettingError(name, value, expected="the path of a directory")
    path = os.path.expanduser(os.fsdecode(value))
    if "\0" in path:
        raise SettingError(name, value, expected="the path of a directory, which has no NUL byte")
    if path.startswith("~"):
        user = path.partition("/")[0]
        raise SettingError(
            name,
            value,
            expected=f"the name of a user behind the tilde; there is no {user[1:]!r} here",
            advice=f"For a directory of that name write './{path}'.",
        )
    return path


def to_json_value(name: str, value: Any) -> Any:
    """The value in types that JSON can write: from NumPy's numbers, paths, members of enumerations and the like.

    Args:
        name: The argument's name.
        value: What was given; dicts, lists and tuples may be nested.

    Raises:
        SettingError: Something in it cannot be written.

    Example:
        >>> import numpy as np, pathlib
        >>> to_json_value("config", {"rate": np.float32(0.5), "out": pathlib.Path("out"), "sizes": (np.int64(1), 2)})
        {'rate': 0.5, 'out': 'out', 'sizes': [1, 2]}
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype.kind in "biufU":
        return value.tolist()
    if isinstance(value, (str, int, float)):  # Of a class of their own.
        return next(kind(value) for kind in (str, int, float) if isinstance(value, kind))
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, Mapping):
        return {_key(name, key): to_json_value(f"{name}[{key!r}]", one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_value(f"{name}[{index}]", one) for index, one in enumerate(value)]
    raise SettingError(
        name,
        value,
        expected=f"what JSON can write, as checkpoints do, not an object of {_class_of(value)}",
        advice="Use a number, a string, None, or a list or dict of those.",
    )


def _key(name: str, key: Any) -> Any:
    key = to_json_value(f"a key of {name}", key)
    if isinstance(key, list):
        raise SettingError(name, key, expected="a dict whose keys are strings or numbers")
    return key


def _class_of(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
