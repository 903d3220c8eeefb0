"""Tables of the run: one that grows with every evaluation, and the pair that a user's own callback fills.

Guarantees:

* An evaluation adds only its own rows: each is an increment (the client's ``INCREMENTAL`` mode), numbered through all
  processes of a run as far as its history tells, and never written twice for the same step.
* A cell is shown as it is: a text with markup stays text. Arrays of uint8 with two or three axes are images.
* While the server does not answer, an increment is tried again on the thread of the artifacts, which no row waits for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.dashboards.pictures import picture_of
from tf_hfwb.errors import SettingError
from tf_hfwb.tracking.artifact_logging import log_with_retries
from tf_hfwb.tracking.run_history import EPOCH, STEP
from tf_hfwb.tracking.tracker import Tracker
from tf_hfwb.tracking.wandb_private import continue_table, describe_increment

MAX_KEY = 80  # The client makes an artifact's name of it, which has at most 128 characters.

_logger = logging.getLogger("tf_hfwb")


class GrowingTable:
    """A table of the run to which rows are added, step by step.

    Args:
        tracker: The run.
        key: Its name among the run's values.
        max_bytes: How large one step's rows may be. Those beyond are left out, with one warning.

    Raises:
        SettingError: The key is empty or too long for the client.
    """

    def __init__(self, tracker: Tracker, key: str, max_bytes: int) -> None:
        self._tracker = tracker
        self._key = check_table_key(key)
        self._max_bytes = max_bytes
        # The pictures of the newest increment, by the id of their array.
        self._pictures: dict[int, tuple[np.ndarray, Any]] = {}
        self._has_warned = False

    def submit(self, make_rows: Callable[[], Sequence[Mapping[str, Any]]], step: int, epoch: float) -> None:
        """Add rows, in the background and after every row of metrics so far.

        Args:
            make_rows: Called in the background; returns the rows, each a dict by the names of the columns, which are
                the same for all.
            step: The global step that they belong to.
            epoch: The epoch.
        """
        what = f"Logging the table {self._key!r}"
        self._tracker.submit(self._tracker.submit_slow, what, self._write, make_rows, step, epoch)

    def _write(self, make_rows: Callable[[], Sequence[Mapping[str, Any]]], step: int, epoch: float) -> None:
        is_logged = self._key in self._tracker.already_logged.names.get(step, ())
        if is_logged and not self._tracker.dashboards:
            return
        rows = self._within_limit(make_rows())
        if rows:
            cells = [[step, epoch, *map(_shown, row.values())] for row in rows]
            self._tracker.show_table(self._key, [STEP, EPOCH, *rows[0]], cells, step)
        if rows and self._tracker.run is not None and not is_logged:
            log_with_retries(self._tracker, f"The table {self._key!r}", lambda: self._log(rows, step, epoch))

    def _log(self, rows: Sequence[Mapping[str, Any]], step: int, epoch: float) -> None:
        # The client's object for a table cannot be used again when logging it has failed: a new one for each increment.
        try:
            table = self._make_table(rows, step, epoch)
        except TypeError:  # A column of a user's has values of several types.
            table = self._make_table(rows, step, epoch, allow_mixed_types=True)
        before = self._tracker.newest_increment(self._key)
        continue_table(table, 0 if before is None else before["increment_num"] + 1, _paths(before or {}))
        self._tracker.log({self._key: table, EPOCH: epoch, STEP: step}, kept=())
        increment = describe_increment(table)
        if increment is not None:
            self._tracker.increments[self._key] = increment

    def _make_table(self, rows: Sequence[Mapping[str, Any]], step: int, epoch: float, **options: Any) -> Any:
        import wandb

        table = wandb.Table(columns=[STEP, EPOCH, *rows[0]], log_mode="INCREMENTAL", **options)
        before, self._pictures = self._pictures, {}
        for row in rows:
            table.add_data(step, epoch, *(self._cell(value, before) for value in row.values()))
        return table

    def _cell(self, value: Any, before: Mapping[int, tuple[np.ndarray, Any]]) -> Any:
        if not _is_picture(value):
            return value
        key = id(value)
        if key not in self._pictures:  # A picture that stays the same is encoded only once.
            import wandb

            self._pictures[key] = before[key] if key in before else (value, wandb.Image(value))
        return self._pictures[key][1]

    def _within_limit(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        size = 0
        for number, row in enumerate(rows):
            size += sum(map(_size, row.values()))
            if size > self._max_bytes:
                if not self._has_warned:
                    self._has_warned = True
                    _logger.warning(
                        "The table %r holds %d of %d samples: more are larger than max_bytes=%d. Raise it, or choose "
                        "fewer samples. This is said once.",
                        self._key,
                        number,
                        len(rows),
                        self._max_bytes,
                    )
                return rows[:number]
        return rows


def _shown(cell: Any) -> Any:
    """A cell as dashboards take it."""
    return picture_of(cell) if _is_picture(cell) else cell


def _paths(increment: Mapping[str, Any]) -> list[str]:
    paths = [*increment.get("previous_increments_paths", ()), increment.get("artifact_path")]
    return [path for path in paths if path]


def _size(value: Any) -> int:
    """Bytes of a cell, of a picture before it is compressed."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    return len(value.encode(errors="replace")) if isinstance(value, str) else len(json.dumps(value, default=str))


def new_table(columns: Sequence[str], *, allow_mixed_types: bool = False) -> Any:
    """The client's table without rows."""
    import wandb

    return wandb.Table(columns=list(columns), allow_mixed_types=allow_mixed_types)


def log_data_table(tracker: Tracker, table: Any, name: str, type: str, table_name: str) -> Any:
    """Log a table as an artifact that the run uses, and wait until it is there.

    Returns:
        The table as the artifact has it, whose rows other tables can refer to without uploading them again; offline,
        without a run, and when the server does not take it, the table itself.
    """
    if tracker.directory is None:
        return table
    import wandb

    try:
        artifact = wandb.Artifact(name, type=type)
        artifact.add(table, table_name)
        if tracker.is_offline:  # There, the client does not let a run use an artifact that it has just made.
            tracker.run.log_artifact(artifact)
            return table
        tracker.run.use_artifact(artifact)
        return artifact.wait().get(table_name)
    except Exception as error:
        _logger.warning(
            "The table %r could not be logged (%s: %s). Training goes on, and what refers to it is uploaded with it.",
            table_name,
            error.__class__.__name__,
            error,
        )
        return table


def submit_prediction_table(tracker: Tracker, table: Any, type: str, table_name: str, aliases: Sequence[str]) -> None:
    """Log a table as the next version of the run's artifact of predictions, in the background."""
    if tracker.directory is not None:
        what = f"The table {table_name!r}"
        tracker.submit_slow(
            f"Logging {what}",
            log_with_retries,
            tracker,
            what,
            lambda: _log_predictions(tracker, table, type, table_name, aliases),
        )


def _log_predictions(tracker: Tracker, table: Any, type: str, table_name: str, aliases: Sequence[str]) -> None:
    import wandb

    artifact = wandb.Artifact(f"run_{tracker.run.id}_pred", type=type)
    artifact.add(table, table_name)
    tracker.run.log_artifact(artifact, aliases=list(aliases))


def _is_picture(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim in (2, 3)


def check_table_key(key: str) -> str:
    """The key, if the client takes it as the name of a table.

    Raises:
        SettingError: It is empty or too long.
    """
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY:
        raise SettingError("table_key", key, expected=f"a name of 1 to {MAX_KEY} characters")
    return key
