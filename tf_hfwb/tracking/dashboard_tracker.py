"""Dashboards beside a W&B run, or in its place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from tf_hfwb.dashboards.entry_queue import EntryQueue
from tf_hfwb.dashboards.entry_writer import EntryWriter
from tf_hfwb.dashboards.log_entries import Row
from tf_hfwb.tracking.row_log import RowsSoFar, parse_row
from tf_hfwb.tracking.run_history import STEP
from tf_hfwb.tracking.tracker import Tracker


class Dashboards:
    """Some dashboards, and the tracker that writes to them where there is no W&B run.

    Args:
        writers: One for each dashboard.

    Attributes:
        queue: What takes the entries for them.
    """

    def __init__(self, writers: Sequence[EntryWriter] = ()) -> None:
        self.queue = EntryQueue(writers)
        self._tracker = Tracker(owned=True)

    def attach(self, tracker: Tracker, queue: EntryQueue) -> Tracker:
        """The tracker whose rows these dashboards get.

        Args:
            tracker: That of the W&B run; one without a run if there is none.
            queue: All dashboards of the fit, or those of this object.
        """
        if tracker.run is None and queue:
            tracker = self._tracker
            tracker.start()
        tracker.dashboards = queue
        return tracker


class SavedRows:
    """The rows of a checkpoint, for a dashboard that lacks them. They can be gone through more than once.

    Args:
        rows: The rows, each a line of JSON.
    """

    def __init__(self, rows: RowsSoFar) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        now = time.time()
        for line in self._rows:
            row = parse_row(line)
            if STEP in row:
                yield Row(int(row[STEP]), now, row)
