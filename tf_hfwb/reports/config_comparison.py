"""Configurations of runs side by side: what differs apart from what is the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tf_hfwb.json_text import dumps
from tf_hfwb.secret_masking import mask

_LONGEST = 400  # Characters of a value.
_BEFORE_DIFFERENCE = 100  # Characters of a long value in front of the place where it differs.
_MOST_KEYS = 24  # A larger dict, such as that of a model's labels, is one value where it is the same in all runs.

_MISSING: Any = object()
_Values = list["str | None"]  # Of each configuration.


def compare(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[list[Any]]]:
    """Compare configurations, value by value. Secrets are masked.

    Returns:
        ``differing``: names with the value of each configuration; ``partial``: those that not all of them have, None
        where there is none; ``equal``: names with the one value of all.

    Example:
        >>> compare([{"rate": 0.1, "model": {"layers": 2}}, {"rate": 0.2, "model": {"layers": 2}}])
        {'differing': [['rate', '0.1', '0.2']], 'partial': [], 'equal': [['model.layers', '2']]}
    """
    masked = [mask(dict(config)) for config in configs]
    # What begins with an underscore is the client's own.
    own = [{key: value for key, value in config.items() if not str(key).startswith("_")} for config in masked]
    found: dict[str, list[list[Any]]] = {"differing": [], "partial": [], "equal": []}
    for name, values in sorted(_flatten(own), key=lambda row: row[0].lower()):
        if _is_equal(values):
            found["equal"].append([name, _cut(values[0])])
        else:
            found["partial" if None in values else "differing"].append([name, *_cut_where_they_differ(values)])
    return found


def _flatten(configs: Sequence[Mapping[Any, Any]], before: str = "") -> Iterator[tuple[str, _Values]]:
    """The names within all configurations, each with the text of its value in each of them, None without one."""
    for key in dict.fromkeys(key for config in configs for key in config):
        name = f"{before}{key}"
        values = [config.get(key, _MISSING) for config in configs]
        inner = [value if isinstance(value, Mapping) else {} for value in values]
        is_large = max(map(len, inner)) > _MOST_KEYS
        there = [value for value in values if value is not _MISSING]
        if is_large and all(value == there[0] for value in there):
            inner = [{} for _ in values]
        plain = [None if part or value is _MISSING else _text(value) for value, part in zip(values, inner, strict=True)]
        if any(text is not None for text in plain):
            yield name, plain
        rows = _flatten(inner, f"{name}.")
        yield from _shortened(name, [*rows]) if is_large else rows


def _shortened(name: str, rows: Sequence[tuple[str, _Values]]) -> Iterator[tuple[str, _Values]]:
    """The rows of a large dict that is not the same in all runs: those that differ, and the others together."""
    equal = [row for row in rows if _is_equal(row[1])]
    differing = [row for row in rows if not _is_equal(row[1])]
    yield from differing[:_MOST_KEYS]
    for words, some in (("more that differ", differing[_MOST_KEYS:]), ("that are the same", equal)):
        if some:
            runs = range(len(some[0][1]))
            yield f"{name} ({len(some)} {words})", [_joined(name, some, run) for run in runs]


def _joined(name: str, rows: Sequence[tuple[str, _Values]], run: int) -> str | None:
    """The values of one configuration as one text; None without any."""
    there = [(inner.removeprefix(f"{name}."), values[run]) for inner, values in rows if values[run] is not None]
    return ", ".join(f"{inner}: {value}" for inner, value in there) or None


def _is_equal(values: _Values) -> bool:
    return all(value == values[0] for value in values)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


def _cut(text: str | None, begin: int = 0) -> str | None:
    if text is None:
        return None
    rest = text[begin:]
    return ("… " if begin else "") + (rest if len(rest) <= _LONGEST else rest[:_LONGEST] + " …")


def _cut_where_they_differ(values: _Values) -> _Values:
    """Values cut so that their difference is to be seen, or where there are several, so that it is told."""
    variants = [*dict.fromkeys(value for value in values if value is not None)]
    alike = itertools.takewhile(lambda signs: len({*signs}) == 1, zip(*variants, strict=False))
    same = len([*alike]) if len(variants) > 1 else 0
    begin = same - _BEFORE_DIFFERENCE if same > _LONGEST - _BEFORE_DIFFERENCE else 0
    texts = {value: _cut(value, begin) for value in variants}
    if len({*texts.values()}) < len(variants):
        texts = {value: f"{text} (variant {number})" for number, (value, text) in enumerate(texts.items(), 1)}
    return [None if value is None else texts[value] for value in values]
