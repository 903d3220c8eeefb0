"""Configurations of runs side by side: what differs apart from what is the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tf_hfwb.json_text import dumps
from tf_hfwb.secret_masking import mask

_LONGEST = 400  # Characters of a value.
_MOST_KEYS = 24  # A larger dict, such as that of a model's labels, is one value.


def compare(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[list[Any]]]:
    """Compare configurations, value by value. Secrets are masked.

    Returns:
        ``differing``: names with the value of each configuration; ``partial``: those that not all of them have, None
        where there is none; ``equal``: names with the one value of all.

    Example:
        >>> compare([{"rate": 0.1, "model": {"layers": 2}}, {"rate": 0.2, "model": {"layers": 2}}])
        {'differing': [['rate', '0.1', '0.2']], 'partial': [], 'equal': [['model.layers', '2']]}
    """
    flat = [dict(_flatten(mask(dict(config)))) for config in configs]
    names = sorted({name for values in flat for name in values}, key=str.lower)
    found: dict[str, list[list[Any]]] = {"differing": [], "partial": [], "equal": []}
    for name in names:
        values = [one.get(name) for one in flat]
        if all(value == values[0] for value in values):
            found["equal"].append([name, _cut(values[0])])
        else:
            found["partial" if None in values else "differing"].append([name, *map(_cut, values)])
    return found


def _flatten(config: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and 0 < len(value) <= _MOST_KEYS:
            yield from _flatten(value, f"{name}.")
        elif before or not name.startswith("_"):  # The client's own.
            yield name, value if isinstance(value, str) else dumps(value)


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= _LONGEST else text[:_LONGEST] + " …"
