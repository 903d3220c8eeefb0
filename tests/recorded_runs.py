"""Runs for readers of runs: real ones, written by W&B's client, and large ones in memory."""

from __future__ import annotations

import math

import numpy as np

SCRIPT = "<script>alert(1)</script>"
BOLD = '<b onmouseover="alert(2)">bold</b> & "quoted" </script><img src=x onerror=alert(3)>'


def write_run(directory, rows, *, tables=None, **options) -> str:
    """Write an offline run; returns its folder. ``tables`` are ``{key: (columns, rows)}``."""
    import os

    import wandb

    from tf_hfwb.tracking.run_history import is_whole

    settings = wandb.Settings(silent=True, x_disable_stats=True, x_save_requirements=False)
    run = wandb.init(project="reports", mode="offline", dir=str(directory), settings=settings, **options)
    for row in rows:
        run.log(row)
    for key, (columns, cells) in (tables or {}).items():
        run.log({key: wandb.Table(columns=columns, data=cells)})
    folder = os.path.dirname(run.dir)
    run.finish()
    assert is_whole(folder, timeout=60), "the client's service goes on writing after finish, on a busy machine for long"
    return folder


def training_rows(number: int = 20, best: float = 0.25) -> list[dict]:
    """Rows as a training has them: every fifth with an evaluation, one loss NaN, one of a user's own without a step."""
    import wandb

    random = np.random.default_rng(0)
    rows = []
    for step in range(1, number + 1):
        loss = math.nan if step == 7 else best + 2 / step
        row = {
            "train/global_step": step,
            "train/epoch": step / 10,
            "train/loss": loss,
            "train/learning_rate": 1e-3 / step,
        }
        if step % 5 == 0:
            row |= {"eval/loss": best + 3 / step, "eval/accuracy": 1 - best - 1 / step}
            counts, edges = np.histogram(random.normal(size=500) / step, bins=64)
            row["gradients/dense/kernel"] = wandb.Histogram(np_histogram=(counts.tolist(), edges.tolist()))
            row["gradients_norm/dense/kernel"] = 1 / step
        rows.append(row)
    return [*rows, {"mine": 42.0}]


def predictions(number: int = 80) -> tuple[list[str], list[list]]:
    """A table of predictions at two steps, with pictures, markup and cells that are empty."""
    import wandb

    columns = ["train/global_step", "train/epoch", "text", "prediction", "confidence", "picture"]
    picture = wandb.Image(np.arange(64, dtype=np.uint8).reshape(8, 8))
    cells = [
        [step, step / 10, [SCRIPT, "a dog", BOLD, None][at % 4], ["cat", "dog", "bird"][at % 3], at / number, picture]
        for step in (10, 20)
        for at in range(number // 2)
    ]
    return columns, cells


def record_in_memory(
    rows, *, run_id="memory", name="in memory", config=None, system=(), summary=None, tables=None, directory=None
):
    """A record whose rows are these. ``tables`` are ``{key: (columns, rows)}``, written into ``directory``."""
    import json

    logged = dict(summary or {})
    for key, (columns, cells) in (tables or {}).items():
        (directory / f"{key}.json").write_text(json.dumps({"columns": columns, "data": cells}))
        logged[key] = {"_type": "table-file", "path": str(directory / f"{key}.json")}

    from tf_hfwb.run_records.record_source import RecordSource
    from tf_hfwb.run_records.run_record import RunRecord

    class InMemory(RecordSource):
        def rows(self, containing=""):
            return iter(rows)

        def system_rows(self):
            return iter(system)

        def find_file(self, value):
            return value.get("path") if value["_type"] == "table-file" else None

    return RunRecord(
        run_id=run_id,
        name=name,
        project="reports",
        entity=None,
        group=None,
        job_type=None,
        tags=(),
        notes=None,
        state="finished",
        exit_code=0,
        started=1.7e9,
        runtime=60.0,
        folders=(),
        url=None,
        config=config or {},
        summary=logged,
        source=InMemory(),
    )
