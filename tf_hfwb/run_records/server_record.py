"""A run on the W&B server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tf_hfwb.run_records.local_record import seconds_since_1970
from tf_hfwb.run_records.record_source import RecordSource
from tf_hfwb.run_records.run_record import RunRecord
from tf_hfwb.tracking.log_items import RUNTIME, flatten, restore_numbers, without_own_part
from tf_hfwb.tracking.server_run import ServerRun
from tf_hfwb.validation.relative_paths import check_path


class ServerSource(RecordSource):
    """Reads a run from the server.

    Args:
        run: The run.
    """

    def __init__(self, run: ServerRun) -> None:
        self._run = run

    def rows(self, containing: str = "") -> Iterator[dict[str, Any]]:
        """See :meth:`RecordSource.rows`."""
        for row in self._run.rows():
            yield flatten(restore_numbers(row))

    def system_rows(self) -> Iterator[dict[str, float]]:
        """See :meth:`RecordSource.system_rows`."""
        for row in self._run.system_rows():
            yield without_own_part(row)

    def find_file(self, value: Mapping[str, Any]) -> str | None:
        """See :meth:`RecordSource.find_file`. It is downloaded."""
        try:
            return self._run.download(check_path(value.get("path")))
        except ValueError:
            return None


def server_record(path: str) -> RunRecord:
    """The record of a run on the server.

    Args:
        path: ``entity/project/id``.

    Raises:
        SettingError: The server has no such run.
        ServerError: The server could not be asked.
    """
    run = ServerRun(path)
    facts = run.facts()
    summary = restore_numbers(facts["summary"])
    exit_codes = {"finished": 0}  # Of other runs, the server tells none.
    return RunRecord(
        run_id=facts["id"],
        name=facts["name"] or facts["id"],
        project=facts["project"],
        entity=facts["entity"],
        group=facts["group"] or None,
        job_type=facts["job_type"] or None,
        tags=tuple(facts["tags"] or ()),
        notes=facts["notes"] or None,
        state=facts["state"],
        exit_code=exit_codes.get(facts["state"]),
        started=seconds_since_1970(facts["created_at"]),
        runtime=summary.get(RUNTIME),
        folders=(),
        url=facts["url"],
        config=without_own_part(facts["config"]),
        summary=without_own_part(summary),
        source=ServerSource(run),
    )
