"""Values that JSON can hold, of whatever somebody has put into a configuration or a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def plain_value(value: Any) -> Any:
    """Numbers, texts, and lists and dicts of them, as they are; anything else as text.

    Example:
        >>> plain_value({1: (np.float32(0.5), None), "of": int})
        {'1': [0.5, None], 'of': "<class 'int'>"}
    """
    if isinstance(value, Mapping):
        return {str(name): plain_value(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
