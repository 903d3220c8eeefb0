"""Files of texts as columns, for ``text_data.py``: .csv with a header, and .json in the shapes that are common."""

from __future__ import annotations

import csv
import io
import json
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tf_hfwb.errors import DataError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


@dataclass
class Table:
    """Columns of a file or a dataset before it is known which are needed."""

    source: str
    names: list[str]
    columns: Any  # By name: a dict, or a datasets.Dataset.
    label_names: Mapping[str, list[str]] = field(default_factory=dict)


def read_file(name: str) -> Table:
    """Read a .csv file with a header, or a .json file with a list of objects or an object on each line.

    A header without commas may have semicolons or tabs between the names, as its rows then must.
    The list may be under ``"data"``, beside whatever else, as in many files of the hub.
    """
    path = pathlib.Path(name).expanduser()
    if path.suffix.lower() not in (".csv", ".json", ".jsonl"):
        raise DataError(
            f"{name} has the extension {path.suffix!r}. Expected .csv, .json or .jsonl. Convert the file, or rename it."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} cannot be read: {error}. Expected UTF-8. Convert the file's encoding.") from error
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}. Expected a file. Check the path.") from error
    columns = _csv_columns(name, text) if path.suffix.lower() == ".csv" else _json_columns(name, text)
    if not any(columns.values()):
        raise DataError(f"{name} has no rows. Expected at least one. Check that it is the right file and complete.")
    return Table(name, list(columns), columns)


def _csv_columns(name: str, text: str) -> dict[str, list[Any]]:
    first = text.partition("\n")[0]
    separator = next((separator for separator in SEPARATORS if separator in first), ",")
    between = SEPARATORS[separator]
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    rows = []
    usual_limit = csv.field_size_limit(len(text))  # It is 131,072, and a text may be longer.
    try:
        header = next(reader, [])
        twice = [column for column, count in Counter(header).items() if column and count > 1]
        if twice:
            raise DataError(
                f"{name} has columns of the same name in its header: {listed(twice)}. Expected a name for each, to "
                "find texts and labels by. Rename or remove all but one of them."
            )
        for row in reader:
            if row and len(row) != len(header):
                raise DataError(
                    f"{name} has {len(row)} fields in line {reader.line_num}, but {len(header)} in its header. "
                    f"Expected as many, with {between} between them. Put texts with {between} or line breaks between "
                    "double quotes."
                )
            rows += [row] if row else []
    except csv.Error as error:
        raise DataError(
            f"{name} is not CSV at line {reader.line_num}: {error}. Expected {between} between fields, double "
            f"quotes around texts with {between}, and those inside texts doubled. Correct the line."
        ) from error
    finally:
        csv.field_size_limit(usual_limit)
    # A missing value that was turned into a word, as NumPy and pandas' na_rep write it.
    rows = [[None if value in ("nan", "NaN") else value for value in row] for row in rows]
    return {column: [row[i] for row in rows] for i, column in enumerate(header)}


def _json_columns(name: str, text: str) -> dict[str, list[Any]]:
    example = 'rows such as {"text": "...", "label": "..."}, in a list or one on each line'
    try:
        rows = _json_rows(text)
    except ValueError as error:
        raise DataError(
            f"{name} is not JSON: {error}. Expected a list of objects, or one object on each line. Correct the file."
        ) from error
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{name} holds something else than objects. Expected {example}. Convert the file.")
    for kind, word in ((dict, "objects"), (list, "lists")):
        if len(rows) == 1 and rows[0] and all(isinstance(value, kind) for value in rows[0].values()):
            raise DataError(
                f"{name} is one object of {word}, {listed(rows[0])}, not rows. Expected {example}. Convert the file; "
                'pandas writes rows with to_json(file, orient="records", lines=True).'
            )
    names = dict.fromkeys(column for row in rows for column in row)
    return {column: [row.get(column) for row in rows] for column in names}


def _json_rows(text: str) -> list[Any]:
    if not text.strip():
        return []
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data" or text.lstrip().startswith("["):
            raise
        return _json_lines(text)  # There is more behind the first object.
    if isinstance(content, dict):
        data = content.get("data")
        content = data if isinstance(data, list) and all(isinstance(row, dict) for row in data) else [content]
    return content if isinstance(content, list) else [content]


def _json_lines(text: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"{error.msg} in line {number}, column {error.colno}") from error
    return rows


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names for a message."""
    words = [repr(name) for name in names]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
