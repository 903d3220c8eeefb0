"""Which logged values are the gradients and weights of a layer, and of which one."""

from __future__ import annotations

import re

from tf_hfwb.reports.logged_values import Counts, LoggedValues, Series

_KINDS = {"gradients": "gradients", "parameters": "weights"}
_OTHER = "values"

Layer = tuple[str, str]  # The kind of the values, and the variable that they belong to.


def is_of_layer(name: str) -> bool:
    """Whether a name is that of a layer's gradients or weights, which have a place of their own."""
    return any(name.startswith((f"{kind}/", f"{kind}_norm/", f"{kind}_nonfinite/")) for kind in _KINDS)


def by_layer(values: LoggedValues) -> tuple[dict[Layer, list[Counts]], dict[Layer, Series]]:
    """The histograms and the norms of a run by their layers. A histogram that a user logged is a layer of its own.

    The name of the model, in front of all variables, is left out: Keras numbers the models of a process, and layers are
    compared between runs, and continued in a run that was resumed.
    """
    norms = {name: one for name, one in values.series.items() if is_of_layer(name) and "_norm/" in name}
    names = [*values.histograms, *norms]
    if _have_one_model(names):
        found = _joined(values.histograms, norms, without_model=True)
        if found is not None:
            return found
    return _joined(values.histograms, norms, without_model=False) or ({}, {})


def _have_one_model(names: list[str]) -> bool:
    variables = [variable for kind, variable in map(_parse, names) if kind != _OTHER]
    models = {re.sub(r"_\d+$", "", variable.partition("/")[0]) for variable in variables}
    return len(models) == 1 and all(variable.count("/") > 1 for variable in variables)


def _joined(
    histograms: dict[str, list[Counts]], norms: dict[str, Series], *, without_model: bool
) -> tuple[dict[Layer, list[Counts]], dict[Layer, Series]] | None:
    """Both by their layers; None if two variables with values at one step would be one."""
    counts: dict[Layer, list[Counts]] = {}
    for name, some in histograms.items():
        layer = _parse(name, without_model=without_model)
        if {one.step for one in counts.get(layer, ())} & {one.step for one in some}:
            return None
        counts[layer] = counts.get(layer, []) + some
    series: dict[Layer, Series] = {}
    for name, some_norms in norms.items():
        before = series.get(_parse(name, without_model=without_model), Series())
        if set(before.steps) & set(some_norms.steps):
            return None
        joined = Series(before.steps + some_norms.steps, before.values + some_norms.values)
        series[_parse(name, without_model=without_model)] = joined
    return counts, series


def _parse(name: str, *, without_model: bool = False) -> Layer:
    before, slash, variable = name.partition("/")
    kind = _KINDS.get(before.removesuffix("_norm"))
    if not slash or kind is None:
        return _OTHER, name
    return kind, variable.partition("/")[2] if without_model else variable
