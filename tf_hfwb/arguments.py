"""What several constructors ask of an argument."""

from __future__ import annotations

import operator
from typing import Any

from tf_hfwb.errors import SettingError


def whole_number(name: str, value: Any, *, minimum: int = 1, expected: str = "") -> int:
    """The argument as an ``int``, also of NumPy's integers.

    Args:
        name: The argument's name.
        value: What was given.
        minimum: The smallest number that is accepted.
        expected: What is expected, for the message.

    Raises:
        SettingError: It is no integer (``True`` is none), or too small.

    Example:
        >>> import numpy as np
        >>> whole_number("patience", np.int64(3))
        3
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < minimum:
        raise SettingError(name, value, expected=expected or f"a whole number, {minimum} or more")
    return number
