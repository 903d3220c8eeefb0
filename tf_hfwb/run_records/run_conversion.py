"""Recorded runs written for another dashboard."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence

from tf_hfwb.dashboards.entry_writer import EntryWriter
from tf_hfwb.run_records.record_entries import RecordEntries
from tf_hfwb.run_records.record_lookup import find_runs
from tf_hfwb.run_records.run_record import RunRecord

_ENTRIES_AT_ONCE = 500


def convert_runs(sources: Sequence[str], make_writer: Callable[[RunRecord, str], EntryWriter]) -> Iterator[str]:
    """Write runs, one after the other, as they were recorded.

    Args:
        sources: Which runs, as :func:`~tf_hfwb.run_records.record_lookup.find_runs` takes them.
        make_writer: Makes the writer of a run, from the run and a name that no other has.

    Yields:
        Of each run a line that says where it is, and what of it has no place there.

    Raises:
        SettingError: There is no run at a place.
        OSError: There is no room.
    """
    names: set[str] = set()
    for run in find_runs(sources):
        name = run.name.replace(os.sep, "-")
        while name in names or name in ("", os.curdir, os.pardir):
            name = f"{name}-{run.run_id}"
        names.add(name)
        writer, entries = make_writer(run, name), RecordEntries(run)
        remaining = iter(entries)
        while batch := list(itertools.islice(remaining, _ENTRIES_AT_ONCE)):
            writer.write(batch)
        writer.close(run.exit_code or 0)
        left_out = ", ".join(f"{number} x {kind}" for kind, number in sorted(entries.left_out.items()))
        yield f"{run.name} ({run.run_id})" + (f"; left out: {left_out}" if left_out else "")
