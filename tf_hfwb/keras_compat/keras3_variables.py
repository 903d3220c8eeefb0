"""The variables of a Keras 3 model's optimizer, and of its random generators."""

from __future__ import annotations

import contextlib
from typing import Any

from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.gradients.optimizer_seams import observer_of
from tf_hfwb.keras_compat.training_variables import Variables, name_variables


def optimizer_variables(model: Any) -> Variables:
    """All of the optimizer's variables, including loss scale and moving averages; created if necessary."""
    if not model.optimizer.built:
        strategy = getattr(model, "distribute_strategy", None)
        with strategy.scope() if strategy is not None else contextlib.nullcontext():
            model.optimizer.build(model.trainable_variables)
    observer = observer_of(getattr(model.optimizer, "inner_optimizer", model.optimizer))
    foreign = set() if observer is None else {id(variable) for variable in observer.own_variables}
    return name_variables("optimizer", [v for v in model.optimizer.variables if id(v) not in foreign], parts=1)


def random_variables(model: Any) -> Variables:
    """The states of the layers' seed generators."""
    others = {id(variable) for variable in [*model.weights, *model.metrics_variables]}
    states = [variable for variable in model.variables if id(variable) not in others]
    return name_variables("random", states)


def global_random_variable(*, make: bool) -> Any:
    """The state of Keras's global seed generator; None if it does not exist yet and ``make`` is False."""
    generator = keras3_private.global_seed_generator(make=make)
    return None if generator is None else generator.state
