"""Recorded runs written for another dashboard."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from tf_hfwb.dashboards.entry_writer import EntryWriter
from tf_hfwb.run_records.record_entries import RecordEntries
from tf_hfwb.run_records.run_record import RunRecord

_ENTRIES_AT_ONCE = 500
_LONGEST_NAME = 200  # Bytes; file systems take 255.
_LONGEST_ID = 80  # Bytes of it, where the id stands behind the name.

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class Conversion:
    """What became of one run.

    Attributes:
        words: The run, and what of it the dashboard has no place for; or why it could not be converted.
        is_done: Whether it was converted.
    """

    words: str
    is_done: bool


def convert_runs(
    runs: Sequence[RunRecord], make_writer: Callable[[RunRecord, str], EntryWriter]
) -> Iterator[Conversion]:
    """Write runs, one after the other, as they were recorded. One that cannot be written does not stop the others.

    Args:
        runs: The runs.
        make_writer: Makes the writer of a run, from the run and a name that no other has and that a directory may have.

    Yields:
        What became of each run.
    """
    names: set[str] = set()
    for run in runs:
        names.add(name := _unique_name(run, names))
        title = f"{run.name} ({run.run_id})"
        try:
            left_out = _convert(run, make_writer(run, name))
        except Exception as error:
            _logger.debug("%s", title, exc_info=True)
            yield Conversion(f"{title} could not be converted: {type(error).__name__}: {error}", is_done=False)
        else:
            yield Conversion(title + (f"; left out: {left_out}" if left_out else ""), is_done=True)


def _convert(run: RunRecord, writer: EntryWriter) -> str:
    entries = RecordEntries(run)
    remaining = iter(entries)
    try:
        while batch := list(itertools.islice(remaining, _ENTRIES_AT_ONCE)):
            writer.write(batch)
    finally:
        writer.close(run.exit_code or 0)
    return ", ".join(f"{number} x {kind}" for kind, number in sorted(entries.left_out.items()))


def _unique_name(run: RunRecord, taken: Collection[str]) -> str:
    name, run_id = _plain(run.name), _cut(_plain(run.run_id), _LONGEST_ID)
    with_id = f"{_cut(name, _LONGEST_NAME - _LONGEST_ID)}-{run_id}"
    numbered = (f"{with_id}-{number}" for number in itertools.count(2))
    candidates = itertools.chain((_cut(name, _LONGEST_NAME), with_id), numbered)
    return next(one for one in candidates if one not in taken and one not in ("", os.curdir, os.pardir))


def _plain(name: str) -> str:
    """A name without what no directory can be called, or nobody could type."""
    return "".join(sign if sign.isprintable() and sign != os.sep else "-" for sign in name)


def _cut(name: str, length: int) -> str:
    """A name of so many bytes at most, with whole characters."""
    return name.encode()[:length].decode(errors="ignore")
