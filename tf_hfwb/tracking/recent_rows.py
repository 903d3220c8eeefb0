"""The rows of a run that a resumed training repeats, found from the end of its history backwards.

Rows arrive in the order in which they are logged, except for a few that another thread logs, such as tables. So where
many rows one after the other are older than the checkpoint, so are those before them, and they need not be read: what
that costs does not depend on how long the run is.
"""

from __future__ import annotations

import collections
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tf_hfwb.tracking.log_items import nest_media
from tf_hfwb.tracking.run_history import (
    INCREMENT,
    STEP,
    LoggedRows,
    global_step,
    logged_rows,
    rows_in,
    rows_on_server,
    run_folders,
    warn_of_server,
)
from tf_hfwb.tracking.run_log import BLOCK, log_of, num_blocks, read_records
from tf_hfwb.tracking.wandb_private import RecordForm

_BLOCKS = 8  # That are read at a time: some hundred rows.
_PAGE = 1000  # Rows that the server is asked for at first; then for more and more.
_ENOUGH = 64  # Rows one after the other that are older than the checkpoint.

_logger = logging.getLogger("tf_hfwb")


def collect(rows: Iterable[Mapping[str, Any]], from_step: int) -> LoggedRows:
    """Take rows from the newest one on, until enough of them are of steps before ``from_step``."""
    found = LoggedRows()
    older: collections.deque[int] = collections.deque(maxlen=_ENOUGH)
    for row in rows:
        found.add(row)
        if row[STEP] >= from_step:
            older.clear()
            continue
        older.append(int(row[STEP]))
        if len(older) == _ENOUGH:
            # Only half of them counts, in case that one of them came late.
            found.first_step = 1 + max(itertools.islice(older, _ENOUGH // 2, None))
            break
    return found


def recent_rows(
    run_id: str,
    wandb_dir: str | os.PathLike[str],
    from_step: int,
    *,
    skip: str | None = None,
    only_offline: bool = False,
) -> LoggedRows:
    """The rows in a run's local folders from a step on; those of a few steps before may be among them.

    Args:
        run_id: The run's id.
        wandb_dir: The folder of the client's run folders.
        from_step: The global step.
        skip: A run folder to pass over: the one that is being written.
        only_offline: Pass over the folders of online runs.
    """
    if from_step <= 0:
        return logged_rows(run_id, wandb_dir, skip=skip, only_offline=only_offline)
    folders = run_folders(run_id, wandb_dir, skip=skip, only_offline=only_offline)
    return collect(itertools.chain.from_iterable(map(_rows_back, reversed(folders))), from_step)


def recent_rows_on_server(run_path: str, from_step: int) -> LoggedRows | None:
    """The rows that the server has of a run from a step on; None, with a warning, if it cannot tell.

    Args:
        run_path: ``entity/project/id``.
        from_step: The global step; those of a few steps before may be among them.
    """
    if from_step <= 0:
        return rows_on_server(run_path)
    import wandb

    try:
        return collect(_pages_back(wandb.Api().run(run_path)), from_step)
    except Exception as error:
        warn_of_server(run_path, error)
        return None


def newest_increment(
    key: str, run_path: str | None, run_id: str, wandb_dir: str | os.PathLike[str], skip: str | None
) -> Mapping[str, Any] | None:
    """The newest increment of a growing table, however long ago it was logged; None without one.

    Args:
        key: The table's name.
        run_path: ``entity/project/id`` where the server is to be asked, too.
        run_id: The run's id.
        wandb_dir: The folder of the client's run folders.
        skip: A run folder to pass over: the one that is being written.
    """
    found = LoggedRows()
    folders = run_folders(run_id, wandb_dir, skip=skip, only_offline=run_path is not None)
    for row in itertools.chain.from_iterable(_rows_back(folder, with_text=INCREMENT) for folder in reversed(folders)):
        if key in row:
            found.add(row)
            break
    if run_path is not None:
        import wandb

        try:
            for row in wandb.Api().run(run_path).scan_history([key], use_cache=False):
                found.add(row)
        except Exception as error:
            warn_of_server(run_path, error)
    return found.increments.get(key)


def _rows_back(directory: str, with_text: str = "") -> Iterator[dict[str, Any]]:
    """The rows with a step in a run's folder, the newest first.

    Args:
        directory: The run's folder.
        with_text: Pass over parts of the log without this text.
    """
    path, form = log_of(directory), RecordForm()
    if path is None or not form.is_known:
        yield from reversed(rows_in(directory))
        return
    try:
        for first in reversed(range(0, num_blocks(path), _BLOCKS)):
            if _has_text(path, first, with_text):
                yield from reversed([*_rows_in_blocks(path, first, form)])
    except OSError as error:
        _logger.warning(
            "The history in %s could not be read (%s). Steps that it holds may be written twice.", directory, error
        )


def _has_text(path: str, first: int, text: str) -> bool:
    if not text:
        return True
    with open(path, "rb") as file:
        file.seek(first * BLOCK)
        data = file.read((_BLOCKS + 1) * BLOCK)  # One block more, in which the last record may end.
    half = len(text) // 2  # The end of a block may cut the text, but not both halves.
    return any(part.encode() in data for part in (text[:half], text[half:]))


def _rows_in_blocks(path: str, first: int, form: RecordForm) -> Iterator[dict[str, Any]]:
    for record in read_records(path, first, first + _BLOCKS):
        if STEP.encode() in record:
            texts = form.row_in(record) or {}
            row = nest_media({name: json.loads(text) for name, text in texts.items()})
            if global_step(row) is not None:
                yield row


def _pages_back(run: Any) -> Iterator[Mapping[str, Any]]:
    """The rows with a step that the server has, the newest first."""
    end, size = int(run.lastHistoryStep) + 1, _PAGE
    while end > 0:
        first = max(0, end - size)
        # Not from the client's cache on disk, which may hold the history as it was before the run was resumed.
        rows = [*run.scan_history(min_step=first, max_step=end, use_cache=False)]
        yield from reversed([row for row in rows if global_step(row) is not None])
        end, size = first, 8 * size
