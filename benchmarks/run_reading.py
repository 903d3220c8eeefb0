"""How long it takes to read the rows of a run: ``python benchmarks/run_reading.py``.

A run of 100,000 rows is logged offline. Its rows are read record by record, as ``tf-hfwb report`` does, and from what
the client's ``wandb leet inspect`` prints, one after the other, several times.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable

import numpy as np
import wandb

from tf_hfwb.tracking.log_inspection import inspected_items
from tf_hfwb.tracking.log_items import read_rows


def log_run(directory: str, num_rows: int) -> str:
    """Log a run; returns its folder."""
    random = np.random.default_rng(0)
    with wandb.init(mode="offline", dir=directory, settings=wandb.Settings(silent=True)) as run:
        for step in range(1, num_rows + 1):
            names = ("loss", "learning_rate", "grad_norm", "samples_per_second", "steps_per_second")
            run.log({f"train/{name}": float(random.random()) for name in names} | {"train/global_step": step})
    return os.path.dirname(run.dir)


def seconds(read: Callable[[], Iterable[object]]) -> float:
    begin = time.perf_counter()
    collections.deque(read(), maxlen=0)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = log_run(directory, arguments.rows)
        ways = {
            "record by record": lambda: read_rows(folder, print),
            "by the client's program": lambda: inspected_items(folder, ("history",), "", print),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.repeats):
            for name, read in ways.items():
                times[name].append(seconds(read))
    for name, found in times.items():
        print(f"{name:>24}: median {statistics.median(found):.2f} s, {min(found):.2f} to {max(found):.2f} s")
    fast, slow = times.values()
    ratios = [one / other for one, other in zip(slow, fast, strict=True)]
    error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else 0.0
    print(json.dumps({"ratio": round(statistics.median(slow) / statistics.median(fast), 2), "error": round(error, 2)}))


if __name__ == "__main__":
    main()
