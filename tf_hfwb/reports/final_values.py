"""What stands in the summaries of runs and in no row, and how much the page has no place for."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tf_hfwb.json_text import dumps, number_of
from tf_hfwb.reports.logged_values import LoggedValues, kind_of
from tf_hfwb.reports.page_numbers import number_cell
from tf_hfwb.run_records.run_record import RunRecord
from tf_hfwb.secret_masking import mask
from tf_hfwb.tracking.log_items import MEDIA_TYPE, flatten

_LONGEST = 400  # Characters of a value.


def final_values(runs: Sequence[RunRecord], values: Sequence[LoggedValues]) -> list[list[Any]]:
    """The values that the summary of a run has and its rows do not, side by side. Secrets are masked.

    Args:
        runs: In the order of the page.
        values: What the rows of each have.

    Returns:
        For each name the name, and the value in each run's summary: a text, a number, ``{"n": digits}``, or None.
    """
    summaries = [dict(_plain_values(run)) for run in runs]
    names = {name for found, rows in zip(summaries, values, strict=True) for name in found.keys() - rows.names}
    return [[name, *(_cell(found.get(name)) for found in summaries)] for name in sorted(names, key=str.lower)]


def count_left_out(runs: Sequence[RunRecord], values: Sequence[LoggedValues]) -> dict[str, int]:
    """How many values of each kind were logged and are not shown."""
    counts: collections.Counter[str] = collections.Counter()
    for run, rows in zip(runs, values, strict=True):
        counts += rows.left_out
        tables = {*run.table_names()}
        for name, value in _own_values(run):
            if _is_media(value) and name not in rows.names | tables:
                counts[kind_of(value)] += 1
    return dict(sorted(counts.items()))


def _own_values(run: RunRecord) -> Iterator[tuple[str, Any]]:
    """The summary without what the client writes into it."""
    return ((name, value) for name, value in flatten(run.summary).items() if not name.startswith("_"))


def _plain_values(run: RunRecord) -> Iterator[tuple[str, Any]]:
    masked = mask(dict(_own_values(run)))
    return ((name, value) for name, value in masked.items() if value is not None and not _is_media(value))


def _is_media(value: Any) -> bool:
    return isinstance(value, Mapping) and MEDIA_TYPE in value


def _cell(value: Any) -> Any:
    number = number_of(value)
    if value is None or number is not None:
        return None if number is None else number_cell(number, str(value))
    text = value if isinstance(value, str) else dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
