"""The names of variables in a checkpoint, and the variables that both Kerases find in the same way.

Besides the weights, training changes the optimizer, the random generators and the accumulators of metrics. Every
function gives such variables by name, in the model's own order, which is the same in every process that builds the same
model. A name is an index and what Keras calls the variable. The numbers by which Keras distinguishes the layers of one
process (``dense_3``) are left out, because they depend on the models that the process has built before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Variables = dict[str, Any]


def name_variables(group: str, variables: Sequence[Any], parts: int | None = None) -> Variables:
    """The variables under ``{group}/{index}/{name}``.

    Args:
        group: The first part of the name.
        variables: The variables.
        parts: How many parts of a variable's own name to take, from the end; all of them when None. An optimizer's
            slots are called after the optimizers and graphs around them, depending on when they are made.

    Example:
        >>> import types
        >>> list(name_variables("optimizer", [types.SimpleNamespace(name="Adam/m/dense_3/kernel:0")]))
        ['optimizer/0000/Adam/m/dense/kernel']
    """
    named = {}
    for index, variable in enumerate(variables):
        name_parts = plain_name(variable).split("/")
        kept = name_parts if parts is None else name_parts[-parts:]
        named[f"{group}/{index:04d}/{'/'.join(kept)}"] = variable
    return named


def plain_name(variable: Any) -> str:
    """What Keras calls a variable or a layer, without the numbers of one process."""
    # A distributed variable looks for unknown attributes in its value, which it first reduces over all workers.
    path = variable.path if hasattr(type(variable), "path") else None
    name = path or getattr(variable, "name", "variable")
    return re.sub(r"_\d+(?=_|/|$)", "", str(name).partition(":")[0])


def frozen_variables(layers: Iterable[Any], own_variables: Callable[[Any], Iterable[Any]]) -> set[int]:
    """The identities of the variables of frozen layers.

    The statistics of a trained layer, which are not trained either, are not among them.

    Args:
        layers: All layers of a model.
        own_variables: Gives the variables of one of them, without those of layers within it.
    """
    frozen = [layer for layer in layers if not layer.trainable]
    return {id(variable) for layer in frozen for variable in own_variables(layer)}


def metric_variables(model: Any, *, without: Any = None) -> Variables:
    """The accumulators of the running epoch, except the variable ``without``."""
    variables = [variable for metric in model.metrics for variable in metric.variables]
    return name_variables("metrics", [variable for variable in variables if variable is not without])
