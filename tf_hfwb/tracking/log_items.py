"""The log in a run's folder, item by item, whoever wrote it.

Damaged parts are passed over, and it ends at an unfinished one: a killed process leaves both. That is told, and never
an error. With a version of the client whose records have another form, its ``wandb leet inspect`` reads them, which
takes several times as long.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tf_hfwb.json_text import number_of
from tf_hfwb.tracking.log_inspection import NO_LOG, inspected_items
from tf_hfwb.tracking.run_log import log_of, read_records
from tf_hfwb.tracking.wandb_private import RecordForm

# The client's own columns of a row, and the key by which a value says what it is: "histogram", "table-file", ...
ROW_STEP, TIMESTAMP, RUNTIME, MEDIA_TYPE = "_step", "_timestamp", "_runtime", "_type"
_OWN = "_wandb"  # The client's own part of a configuration and of a summary.
_OF_HISTOGRAMS = (MEDIA_TYPE, "values", "bins", "packedBins")  # Their parts.
_WORDS = ('"NaN"', 'Infinity"')  # That stand for numbers.


def read_rows(folder: str, complain: Callable[[str], None], containing: str = "") -> Iterator[dict[str, Any]]:
    """The rows in a run's log, in the order in which they were written: media are one value each.

    One row is in memory at a time.

    Args:
        folder: The run's folder.
        complain: Gets what is wrong with the log, in words, perhaps several times.
        containing: Pass over rows without this text.
    """
    form = RecordForm()
    if not form.is_known:
        for _, item in inspected_items(folder, ("history",), containing, complain):
            yield nest_media(restore_numbers(item["item"]))
        return
    for record in _records(folder, form, ("history",), containing, complain):
        texts = form.row_in(record) or {}
        text = f"[{','.join(texts.values())}]"  # All values at once: each by itself takes twice as long.
        try:
            values = json.loads(text)
        except ValueError as error:  # A number of thousands of digits, for example.
            complain(f"a row cannot be read: {error}")
            continue
        if any(word in text for word in _WORDS):
            values = restore_numbers(values)
        row = dict(sorted(zip(texts, values, strict=True)))  # The client writes them in another order each time.
        yield nest_media(row) if MEDIA_TYPE.encode() in record else row


def read_items(folder: str, *kinds: str, complain: Callable[[str], None]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The items of some kinds in a run's log other than rows, in the order in which they were written.

    One of them is in memory at a time.

    Args:
        folder: The run's folder.
        *kinds: ``"stats"``, ``"run"``, ``"artifact"``, ...
        complain: Gets what is wrong with the log, in words, perhaps several times.

    Yields:
        The kind and the item, as ``wandb leet inspect --json`` prints it.
    """
    form = RecordForm()
    if form.is_known:
        for record in _records(folder, form, kinds, "", complain):
            yield form.kind_of(record), form.item_in(record)
    else:
        yield from inspected_items(folder, kinds, "", complain)


def _records(
    folder: str, form: RecordForm, kinds: tuple[str, ...], containing: str, complain: Callable[[str], None]
) -> Iterator[bytes]:
    path, text = log_of(folder), containing.encode()
    if path is None:
        complain(NO_LOG)
        return
    try:
        for record in read_records(path, complain=complain):
            if form.kind_of(record) in kinds and text in record:
                yield record
    except OSError as error:
        complain(str(error))


def nest_media(item: dict[str, Any]) -> dict[str, Any]:
    """A row with tables and histograms as one value each, of which the log has ``name._type`` and the like.

    What is media within media, as the mask of an image, stays a part of it. A value that was logged as ``name.other``
    beside a histogram ``name`` stays one by itself.

    Example:
        >>> nest_media({"h._type": "histogram", "h.values": [1], "h.bins": [0, 1], "h.mine": 2})
        {'h.mine': 2, 'h': {'_type': 'histogram', 'values': [1], 'bins': [0, 1]}}
    """
    end = f".{MEDIA_TYPE}"
    for name in sorted(key.removesuffix(end) for key in item if key.endswith(end)):  # Outer ones first.
        parts = [key for key in item if key.startswith(f"{name}.")]
        if item.get(name + end) == "histogram":
            parts = [key for key in parts if key[len(name) + 1 :].partition(".")[0] in _OF_HISTOGRAMS]
        if name + end in parts:
            item[name] = {key.removeprefix(f"{name}."): item.pop(key) for key in parts}
    return item


def restore_numbers(values: Any) -> Any:
    """A value with numbers in place of the words for those that JSON does not have.

    Example:
        >>> restore_numbers({"loss": "NaN", "note": "none"})
        {'loss': nan, 'note': 'none'}
    """
    if isinstance(values, dict):
        return {name: restore_numbers(value) for name, value in values.items()}
    if isinstance(values, list):
        return [restore_numbers(value) if isinstance(value, (str, dict, list)) else value for value in values]
    if isinstance(values, str):
        number = number_of(values)
        return values if number is None else number
    return values


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values by one name each, with a point between its parts; media stay one value.

    Example:
        >>> flatten({"loss": 1, "eval": {"f1": {"micro": 0.5}}, "h": {"_type": "histogram", "values": [1]}})
        {'loss': 1, 'eval.f1.micro': 0.5, 'h': {'_type': 'histogram', 'values': [1]}}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and MEDIA_TYPE not in value:
            found |= {f"{name}.{inner}": part for inner, part in flatten(value).items()}
        else:
            found[name] = value
    return found


def without_own_part(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration, a summary or a row without what the client keeps in it for itself."""
    return {name: value for name, value in values.items() if name != _OWN}
