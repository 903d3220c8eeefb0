"""What the page says of each run at its top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tf_hfwb.reports.logged_values import LoggedValues
from tf_hfwb.reports.metric_charts import best_values
from tf_hfwb.reports.page_numbers import exact, short
from tf_hfwb.run_records.run_record import RunRecord
from tf_hfwb.secret_masking import mask_text


def overviews(runs: Sequence[RunRecord], values: Sequence[LoggedValues]) -> list[dict[str, Any]]:
    """The facts of each run, its size, and the best values of its evaluations with their steps.

    Runs of one name have their id behind it.
    """
    names = Counter(run.name for run in runs)
    found = []
    for run, logged in zip(runs, values, strict=True):
        name = run.name if names[run.name] == 1 and run.name else f"{run.name} ({run.run_id})".strip()
        found.append({"name": name, **_overview(run, logged)})
    return found


def _overview(run: RunRecord, values: LoggedValues) -> dict[str, Any]:
    best = {name: [short(value), exact(step)] for name, (value, step) in best_values(values).items()}
    return {
        "id": run.run_id,
        "project": "/".join(filter(None, (run.entity, run.project))),
        "group": run.group,
        "job": run.job_type,
        "tags": list(run.tags),
        "notes": None if run.notes is None else mask_text(run.notes),
        "state": run.state,
        "started": run.started,
        "runtime": run.runtime,
        "folders": len(run.folders),
        "rows": values.num_rows,
        "last_step": None if values.last_step is None else exact(values.last_step),
        "best": best,
    }
