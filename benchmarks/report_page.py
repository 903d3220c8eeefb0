"""How fast a report page opens, and how large it is: ``python benchmarks/report_page.py``.

20 runs of 5,000 rows, with values of a training and its evaluations, histograms of 40 variables, and the use of the
machine. The page is opened again and again in headless Chromium; a time is that from the call of its address until
there is text, until the library of the plots is ready, until the plots in view are drawn, and until all are, one after
the other while the page answers already.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))
from recorded_runs import record_in_memory

from tf_hfwb.reports.report_page import write_report


def rows(number: int, seed: int) -> list[dict]:
    random = np.random.default_rng(seed)
    losses = 2 * np.exp(-np.arange(number) / number * 3) + random.gamma(1, 0.1, size=number)
    found = []
    for step in range(1, number + 1):
        loss = float(losses[step - 1])
        row = {
            "train/global_step": step,
            "train/epoch": step / 1000,
            "train/loss": loss,
            "train/learning_rate": 1e-3 * (1 - step / number),
            "train/grad_norm": float(random.gamma(2, 1)),
            "train/samples_per_second": float(random.normal(300, 20)),
            "train/steps_per_second": float(random.normal(10, 1)),
        }
        if step % 100 == 0:
            row |= {"eval/loss": loss + 0.1, "eval/accuracy": 1 / (1 + loss), "eval/f1": 1 / (1.2 + loss)}
        if step % 500 == 0:
            for variable in range(40):
                counts, edges = np.histogram(random.normal(size=1000), bins=64)
                row[f"gradients/layer_{variable}"] = {
                    "_type": "histogram",
                    "values": counts.tolist(),
                    "bins": edges.tolist(),
                }
        found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rows", type=int, default=100_000, help="of all runs together")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", help="where to leave the page")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    system = [
        {"_timestamp": 1.7e9 + 15 * at, "cpu": 50.0 + at % 7, "memory_percent": 40.0, "proc.memory.rssMB": 900.0 + at}
        for at in range(1000)
    ]
    each = arguments.rows // arguments.runs
    runs = [
        record_in_memory(rows(each, at), run_id=f"run{at}", name=f"run {at}", config={"rate": at}, system=system)
        for at in range(arguments.runs)
    ]
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        path = pathlib.Path(arguments.output or f"{directory}/page.html").resolve()
        begin = time.perf_counter()
        write_report(runs, path)
        print(f"{arguments.runs} runs, {each * arguments.runs:,} rows")
        print(f"written in {time.perf_counter() - begin:.2f} s, {path.stat().st_size / 1e6:.2f} MB")
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        times: dict[str, list[float]] = {"text": [], "library": [], "plots in view": [], "all plots": []}
        for _ in range(arguments.repeats):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
            marks = page.evaluate(
                """() => Object.fromEntries(
                    performance.getEntriesByType("mark").map((mark) => [mark.name, mark.startTime])
                )"""
            )
            for name, found in times.items():
                found.append(marks[name] / 1000)
            page.close()
        browser.close()
    for name, found in times.items():
        print(f"{name:>14}: median {statistics.median(found):.2f} s, slowest {max(found):.2f} s")


if __name__ == "__main__":
    main()
