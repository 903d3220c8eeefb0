"""The use of the machine while a run went on, as W&B's client measures it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tf_hfwb.json_text import number_of
from tf_hfwb.reports.logged_values import Series
from tf_hfwb.reports.metric_charts import points
from tf_hfwb.reports.page_numbers import fair_shares
from tf_hfwb.run_records.run_record import RunRecord
from tf_hfwb.tracking.log_items import TIMESTAMP

_POINTS = 60_000  # Of all charts.
_LEAST = 16
_MOST = 600

# The client's names, what they are, and the unit; {} stands for a number. Those in front are shown first.
_KNOWN = (
    ("gpu.{}.gpu", "GPU use", "%"),
    ("gpu.{}.memoryAllocated", "GPU memory", "%"),
    ("gpu.{}.memoryAllocatedBytes", "GPU memory", "bytes"),
    ("gpu.{}.powerWatts", "GPU power", "watts"),
    ("gpu.{}.temp", "GPU temperature", "°C"),
    ("tpu.{}.tensorcoreUtilization", "TPU use", "%"),
    ("tpu.{}.memoryUsageBytes", "TPU memory", "bytes"),
    ("cpu", "CPU use of the process", "%"),
    ("cpu.{}.cpu_percent", "Use of each CPU core", "%"),
    ("memory_percent", "Memory in use", "%"),
    ("memory", "Memory in use", "%"),
    ("proc.memory.rssMB", "Memory of the process", "MB"),
    ("proc.memory.percent", "Memory of the process", "%"),
    ("proc.memory.availableMB", "Memory available", "MB"),
    ("proc.cpu.threads", "Threads of the process", ""),
    ("network.sent", "Network, sent", "bytes"),
    ("network.recv", "Network, received", "bytes"),
    ("disk.in", "Disk, read", "MB"),
    ("disk.out", "Disk, written", "MB"),
    ("disk.{}.usagePercent", "Disk in use", "%"),
    ("disk.{}.usageGB", "Disk in use", "GB"),
)
_PATTERNS = tuple(
    (re.compile(re.escape(name).replace(r"\{\}", r"([^.]+)")), title, unit) for name, title, unit in _KNOWN
)
_NUM_SHOWN = 10  # The others of the list are folded, as are those that are not in it.


def machine_charts(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """The charts of the page, over the minutes since each run began."""
    charts: dict[tuple[int, str, str], list[tuple[int, str, Series]]] = {}
    for number, run in enumerate(runs):
        for name, series in _read(run).items():
            place, title, unit, device = _meaning(name)
            charts.setdefault((place, title, unit), []).append((number, device, series))
    lengths = [len(series.steps) for traces in charts.values() for _, _, series in traces]
    most = min(_MOST, fair_shares(lengths, _POINTS, least=_LEAST))
    return [
        {
            "title": title,
            "unit": unit,
            "section": "machine" if place <= _NUM_SHOWN else "machine-more",
            "traces": [
                {"run": number, "part": None, "name": device, **points(series, most)}
                for number, device, series in traces
            ],
        }
        for (place, title, unit), traces in sorted(charts.items(), key=lambda item: item[0])
    ]


def _read(run: RunRecord) -> dict[str, Series]:
    found: dict[str, Series] = {}
    begin = run.started
    for row in run.system_rows():
        time = number_of(row.get(TIMESTAMP))
        if time is None:
            continue
        begin = time if begin is None else begin
        minutes = round((time - begin) / 60, 4)
        for name, value in row.items():
            number = number_of(value)
            if number is not None and not name.startswith("_"):
                found.setdefault(name, Series()).add(minutes, float(number))
    return found


def _meaning(name: str) -> tuple[int, str, str, str]:
    """The place, the title and the unit of a measurement, and of which device it is."""
    for place, (pattern, title, unit) in enumerate(_PATTERNS):
        match = pattern.fullmatch(name)
        if match:
            return place, title, unit, match.group(1) if match.groups() else ""
    return len(_PATTERNS), name, "", ""
