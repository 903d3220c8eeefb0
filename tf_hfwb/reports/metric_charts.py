"""Which series share a chart, and in which order charts come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.reports.layer_names import is_of_layer
from tf_hfwb.reports.logged_values import LoggedValues, Series
from tf_hfwb.reports.page_numbers import exact, fair_shares, shorts
from tf_hfwb.reports.thinned_series import thin
from tf_hfwb.reports.value_titles import part_of, subject_of, title_of, unit_of
from tf_hfwb.step_policies import higher_is_better
from tf_hfwb.tracking.run_history import is_rate

_BUDGET = 100_000  # Points of all charts of metrics, which a browser draws in a second.
_LEAST = 16
_MOST = 1200  # Two for each pixel of a chart.

_SPEED = ("learning_rate", "lr", "grad_norm")


def metric_charts(runs: Sequence[LoggedValues]) -> list[dict[str, Any]]:
    """The charts of the page, without those of single layers.

    Args:
        runs: What the runs logged, in the order of the page.
    """
    names = dict.fromkeys(name for values in runs for name in values.series if not is_of_layer(name))
    subjects: dict[str, list[str]] = {}
    for name in names:
        subjects.setdefault(subject_of(name), []).append(name)
    lengths = [len(values.series[name].steps) for values in runs for name in names if name in values.series]
    most = min(_MOST, fair_shares(lengths, _BUDGET, least=_LEAST))
    charts = [_chart(subject, members, runs, most) for subject, members in subjects.items()]
    return sorted(charts, key=lambda chart: (chart["order"], chart["title"].lower()))


def _chart(subject: str, names: Sequence[str], runs: Sequence[LoggedValues], most: int) -> dict[str, Any]:
    names = sorted(names, key=lambda name: (part_of(name) != "training", part_of(name) or ""))
    traces = [
        {"run": number, "part": part_of(name), "name": name, **points(values.series[name], most)}
        for name in names
        for number, values in enumerate(runs)
        if name in values.series
    ]
    section, order = _place(subject, names)
    return {
        "title": title_of(subject),
        "subject": subject,
        "unit": unit_of(subject),
        "section": section,
        "order": order,
        "higher": higher_is_better(subject),
        "traces": traces,
    }


def points(series: Series, most: int) -> dict[str, Any]:
    """The points of a series, thinned if they are many; ``rows`` tells how many there were."""
    x, y = series.arrays()
    kept = thin(x, y, most)
    found: dict[str, Any] = {"x": [exact(step) for step in x[kept]], "y": shorts(y[kept]), "rows": len(x)}
    broken = np.flatnonzero(~np.isfinite(y))
    if len(broken):
        found["broken"] = {"rows": len(broken), "first": exact(x[broken[0]])}
    return found


def _place(subject: str, names: Sequence[str]) -> tuple[str, int]:
    """The section of a chart, and where it stands: losses first, then what evaluations find."""
    if subject == "loss":
        return "metrics", 0
    if subject in _SPEED:
        return "speed", 10 + _SPEED.index(subject)
    if all(map(is_rate, names)) or subject == "num_input_tokens_seen":
        return "speed", 20
    parts = {part_of(name) for name in names}
    if parts == {None}:
        return "others", 30
    return "metrics", 1 if "evaluation" in parts else 2


def best_values(values: LoggedValues) -> Mapping[str, tuple[float, float]]:
    """For each metric of evaluations its best value, and the step of it."""
    found = {}
    for name, series in values.series.items():
        subject = subject_of(name)
        if part_of(name) != "evaluation" or is_rate(name):
            continue
        steps, numbers = series.arrays()
        finite = np.flatnonzero(np.isfinite(numbers))
        if len(finite):
            pick = np.argmax if higher_is_better(subject) else np.argmin
            at = finite[pick(numbers[finite])]
            found[name] = (float(numbers[at]), float(steps[at]))
    return found
