"""The log in a run's folder, item by item, whoever wrote it.

It is read by the client's ``wandb leet inspect``, which passes over damaged parts and ends at an unfinished one: a
killed process leaves both. What it complains of is handed on, and never an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tf_hfwb.json_text import number_of
from tf_hfwb.tracking.run_history import inspect_commands, nest_media

# The client's own columns of a row, and the key by which a value says what it is: "histogram", "table-file", ...
ROW_STEP, TIMESTAMP, RUNTIME, MEDIA_TYPE = "_step", "_timestamp", "_runtime", "_type"
_OWN = "_wandb"  # The client's own part of a configuration and of a summary.
_PREFIX = "wandb leet inspect: "  # Of its complaints.


def read_items(
    folder: str, *kinds: str, complain: Callable[[str], None], containing: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The items of some kinds in a run's log, in the order in which they were written.

    One line of the log is in memory at a time.

    Args:
        folder: The run's folder.
        *kinds: ``"history"``, ``"stats"``, ``"run"``, ``"artifact"``, ...
        complain: Gets what is wrong with the log, at its end, in words.
        containing: Pass over items without this text.

    Yields:
        The kind and the item, as ``wandb leet inspect --json`` prints it.
    """
    folder = os.path.abspath(folder)
    complaint = "it holds no log"
    for command in inspect_commands(folder):
        has_items = False
        with tempfile.TemporaryFile("w+") as complaints:
            # Not in the current directory, where a file of the user's may have the name of a module.
            with subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, text=True
            ) as process:
                for item in _parse(process.stdout or (), kinds, containing):
                    has_items = True
                    yield item
            complaints.seek(0)
            complaint = complaints.read().strip()[-300:].removeprefix(_PREFIX)
        if not process.returncode or has_items:
            break
        complaint = complaint or f"exit status {process.returncode}"
    if complaint:
        complain(complaint)


def row_of(item: dict[str, Any]) -> dict[str, Any]:
    """The row of an item of the kind ``"history"``: media as one value each, and NaN and infinity as numbers."""
    return nest_media(restore_numbers(item["item"]))


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


def _parse(lines: Any, kinds: tuple[str, ...], containing: str) -> Iterator[tuple[str, dict[str, Any]]]:
    marks = [f'"type":"{kind}"' for kind in kinds]
    for line in lines:
        if containing in line and any(mark in line for mark in marks):
            with contextlib.suppress(ValueError):  # The last line of a program that was ended.
                entry = json.loads(line)
                if entry["type"] in kinds:
                    yield entry["type"], entry[entry["type"]]
