"""The variables besides the weights that training changes: optimizer, random generators, metric accumulators.

Every function gives them by name, in the model's own order, which is the same in every process that builds the same
model. A name is an index and what Keras calls the variable, without the numbers by which Keras tells apart the layers
of one process (``dense_3`` is ``dense``): these differ when a process has built other models before.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tf_hfwb.keras_compat.observer import observer_of

Variables = dict[str, Any]


def named(group: str, variables: Sequence[Any], parts: int | None = None) -> Variables:
    """The variables under ``{group}/{index}/{name}``.

    Args:
        group: The first part of the name.
        variables: The variables.
        parts: How many parts of a variable's own name to take, from the end; all of them when None. An optimizer's
            slots are called after the optimizers and graphs around them, depending on when they are made.

    Example:
        >>> import types
        >>> list(named("optimizer", [types.SimpleNamespace(name="Adam/m/dense_3/kernel:0")]))
        ['optimizer/0000/Adam/m/dense/kernel']
    """
    names = ("/".join(_plain_name(variable).split("/")[-(parts or 99) :]) for variable in variables)
    return {f"{group}/{index:04d}/{name}": v for index, (name, v) in enumerate(zip(names, variables, strict=True))}


def _plain_name(variable: Any) -> str:
    name = getattr(variable, "path", None) or getattr(variable, "name", "variable")
    return re.sub(r"_\d+(?=_|/|$)", "", str(name).partition(":")[0])


# -- tf_keras ----------------------------------------------------------------------------------------------------------


def tf_keras_optimizer(model: Any) -> Variables:
    """Iterations, slots, moving averages, changeable hyperparameters and the loss scale; made if not there yet."""
    optimizer = model.optimizer
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    with model.distribute_strategy.scope():
        if hasattr(inner, "_create_all_weights"):  # A legacy optimizer, as transformers' own are.
            _ = inner.iterations
            inner._create_all_weights(model.trainable_variables)
            hyper = [value for _, value in sorted(inner._hyper.items()) if hasattr(value, "assign")]
            variables = [*inner.weights, *hyper]
        else:
            inner.build(model.trainable_variables)
            rates = [getattr(inner, name, None) for name in ("_learning_rate", "_current_learning_rate")]
            variables = [*inner.variables, *(rate for rate in rates if hasattr(rate, "assign"))]
    scale: Any = getattr(optimizer, "_loss_scale", None)
    if hasattr(scale, "_weights"):
        variables += [scale.current_loss_scale, scale.counter]
    return named("optimizer", variables, parts=3)


def tf_keras_generators(model: Any) -> Iterator[tuple[Any, Any]]:
    """Each layer that draws random numbers, with its generator."""
    for layer in model.submodules:
        generator = getattr(layer, "_random_generator", None)
        if generator is not None and hasattr(generator, "_rng_type"):
            yield layer, generator


def keep_random_state(model: Any) -> bool:
    """Let every layer of a tf_keras model draw from a generator whose state can be saved.

    By default they draw from operations that keep their state to themselves. A layer's new generator is seeded from
    Keras's seed and the layer's place in the model; a seed of the layer's own is kept.

    Returns:
        Whether anything had to be changed; functions that were traced before must then be made again.
    """
    import tensorflow as tf

    changed = False
    for index, (layer, generator) in enumerate(tf_keras_generators(model)):
        if generator._rng_type != generator.RNG_LEGACY_STATEFUL:
            generator._maybe_init()
            continue
        seed = generator._seed
        if seed is None:
            named_seed = zlib.crc32(f"{index}/{_plain_name(layer)}".encode())
            seed = (generator._create_seed(None) * 1_000_003 + named_seed) % 2**31
        generator._rng_type, generator._seed, generator._built = generator.RNG_STATEFUL, seed, False
        with model.distribute_strategy.scope(), tf.init_scope():
            generator._maybe_init()
        changed = True
    return changed


def tf_keras_random(model: Any) -> Variables:
    """The states of the layers' generators."""
    states = [generator._generator.state for _, generator in tf_keras_generators(model) if generator._generator]
    return named("random", [state for variable in states for state in _each_replica(variable)])


def tf_keras_global(*, make: bool) -> Any:
    """The state of TensorFlow's global generator; None if nobody has used it, and it shall not be made."""
    import tensorflow as tf
    from tensorflow.python.ops import stateful_random_ops

    if stateful_random_ops.global_generator is None and make:
        # Not by get_global_generator, which is forbidden when operations are deterministic.
        tf.random.set_global_generator(tf.random.Generator.from_seed(0))
    generator = stateful_random_ops.global_generator
    return None if generator is None else generator.state


def _each_replica(variable: Any) -> tuple[Any, ...]:
    """A generator under a distribution strategy has a state for each replica."""
    return tuple(getattr(variable, "values", (variable,)))


# -- Keras 3 -----------------------------------------------------------------------------------------------------------


def keras3_optimizer(model: Any) -> Variables:
    """All of the optimizer's variables, the loss scale and the moving averages among them; made if not there yet."""
    if not model.optimizer.built:
        strategy = getattr(model, "distribute_strategy", None)
        with strategy.scope() if strategy is not None else contextlib.nullcontext():
            model.optimizer.build(model.trainable_variables)
    observer = observer_of(getattr(model.optimizer, "inner_optimizer", model.optimizer))
    foreign = set() if observer is None else {id(variable) for variable in observer.own_variables}
    return named("optimizer", [v for v in model.optimizer.variables if id(v) not in foreign], parts=1)


def keras3_random(model: Any) -> Variables:
    """The states of the layers' seed generators."""
    others = {id(variable) for variable in [*model.weights, *model.metrics_variables]}
    states = [variable for variable in model.variables if id(variable) not in others]
    return named("random", states)


def keras3_global(*, make: bool) -> Any:
    """The state of Keras's global seed generator; None if nobody has used it, and it shall not be made."""
    from keras.src.backend.common import global_state
    from keras.src.random import seed_generator

    if make:
        return seed_generator.global_seed_generator().state
    generator = global_state.get_global_attribute("global_seed_generator")  # A name that Keras exports only lately.
    return None if generator is None else generator.state


# -- both --------------------------------------------------------------------------------------------------------------


def frozen_variables(layers: Iterable[Any]) -> set[int]:
    """The identities of the variables of layers that are not trained; statistics of a trained layer are not of them."""
    owned = ("_trainable_weights", "_non_trainable_weights", "_trainable_variables", "_non_trainable_variables")
    frozen = [layer for layer in layers if getattr(layer, "trainable", True) is False]
    return {id(variable) for layer in frozen for name in owned for variable in getattr(layer, name, ())}


def metric_variables(model: Any, *, without: Any = None) -> Variables:
    """The accumulators of the running epoch, but for the step recorder's variable."""
    variables = [variable for metric in model.metrics for variable in metric.variables]
    return named("metrics", [variable for variable in variables if variable is not without])
