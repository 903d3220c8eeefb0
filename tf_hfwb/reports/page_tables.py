"""Tables of the runs, as many of their rows as there is room for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.json_text import dumps, number_of
from tf_hfwb.reports.page_numbers import number_cell
from tf_hfwb.reports.page_pictures import PagePictures
from tf_hfwb.run_records.run_record import RunRecord
from tf_hfwb.secret_masking import mask_text
from tf_hfwb.tracking.log_items import MEDIA_TYPE
from tf_hfwb.tracking.run_history import STEP

_BUDGET = 1_600_000  # Characters of all tables.
_LONGEST = 2_000  # Characters of a cell.


def page_tables(runs: Sequence[RunRecord], pictures: PagePictures) -> list[dict[str, Any]]:
    """The tables of all runs.

    Of a table that is too large the newest rows are kept, if its rows tell their step, else the first ones.

    Args:
        runs: In the order of the page.
        pictures: Gets the pictures in cells.

    Returns:
        For each table its run, its key, its columns, its rows, and in ``left_out`` how many rows more there are.
        ``problem`` tells why a table cannot be read. A cell is a text, a number, None, ``{"t": text}`` for one that is
        cut, ``{"n": digits}`` for an integer that a browser would round, or ``{"p": number}`` for a picture.
    """
    named = [(number, run, key) for number, run in enumerate(runs) for key in run.table_names()]
    room = _BUDGET // max(1, len(named))
    return [_table(number, run, key, pictures, room) for number, run, key in named]


def _table(number: int, run: RunRecord, key: str, pictures: PagePictures, room: int) -> dict[str, Any]:
    try:
        recorded = run.table(key)
    except SettingError as error:
        return {"run": number, "key": key, "columns": [], "rows": [], "left_out": 0, "problem": str(error)}
    newest_first = STEP in recorded.columns
    rows = []
    for values in reversed(recorded.rows) if newest_first else recorded.rows:
        cells = [_cell(value, run, pictures) for value in values]
        room -= len(json.dumps(cells))
        if room < 0:
            break
        rows.append(cells)
    return {
        "run": number,
        "key": key,
        "columns": [str(name) for name in recorded.columns],
        "rows": rows[::-1] if newest_first else rows,
        "left_out": len(recorded.rows) - len(rows),
    }


def _cell(value: Any, run: RunRecord, pictures: PagePictures) -> Any:
    if value is None or isinstance(value, bool):
        return value if value is None else str(value).lower()
    number = number_of(value)
    if number is not None:
        return number_cell(number, str(value))
    if isinstance(value, Mapping) and value.get(MEDIA_TYPE) == "image-file":
        picture = pictures.number_of_file(run.file_of(value))
        return "(picture)" if picture is None else {"p": picture}
    text = mask_text(value if isinstance(value, str) else dumps(value))
    return text if len(text) <= _LONGEST else {"t": text[:_LONGEST]}
