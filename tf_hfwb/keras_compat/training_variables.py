"""The variables besides the weights that training changes: optimizer, random generators, metric accumulators.

Every function gives them by name, in the model's own order, which is the same in every process that builds the same
model. A name is an index and what Keras calls the variable, without the numbers by which Keras tells apart the layers
of one process (``dense_3`` is ``dense``): these differ when a process has built other models before.
"""

from __future__ import annotations

import contextlib
import functools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import keras3_private, tensorflow_private, tf_keras_private
from tf_hfwb.keras_compat.optimizer_seams import observer_of

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
    native = native_optimizer(optimizer)
    with model.distribute_strategy.scope():
        if native is not None:
            tensorflow_private.slot_maker(native)(model.trainable_variables)
            variables = [optimizer.iterations, *native.variables()]
        elif (make_slots := tf_keras_private.legacy_slot_maker(inner)) is not None:  # As transformers' own are.
            _ = inner.iterations
            make_slots(model.trainable_variables)
            parameters = tf_keras_private.legacy_hyperparameters(inner)
            hyper = [value for _, value in sorted(parameters.items()) if hasattr(value, "assign")]
            variables = [*inner.weights, *hyper]
        else:
            inner.build(model.trainable_variables)
            variables = [*inner.variables, *tf_keras_private.learning_rate_variables(inner)]
    variables += tf_keras_private.loss_scale_variables(optimizer)
    return name_variables("optimizer", variables, parts=3)


def native_optimizer(optimizer: Any) -> Any:
    """The one of ``tf.compat.v1.train`` in what tf_keras wraps around it; None for all others.

    The wrapper has nothing of what Keras's optimizers have but the counter.
    """
    import tensorflow as tf

    inner = getattr(optimizer, "optimizer", None)
    return inner if isinstance(inner, tf.compat.v1.train.Optimizer) else None


def tf_keras_generators(model: Any) -> Iterator[tuple[Any, Any]]:
    """Each layer that draws random numbers, with its generator."""
    for layer in model.submodules:
        generator = tf_keras_private.generator_of(layer)
        if generator is not None:
            yield layer, generator


def keep_random_state(model: Any) -> bool:
    """Let every layer of a tf_keras model draw from a generator whose state can be saved.

    By default they draw from operations that keep their state to themselves, each with seeds that it gets when it is
    traced. With those the layer's new generator draws the same numbers; where there are none, because nobody has set
    TensorFlow's seed, it is seeded from Keras's seed and the layer's place in the model. A layer that is called several
    times in a step has one generator here, and an operation for each call there: only the first call draws the same. A
    layer with a seed of its own counts it up each time it is traced, which happens more often without us.

    Returns:
        Whether anything had to be changed; functions that were traced before must then be made again.
    """
    import tensorflow as tf

    changed = False
    for index, (layer, generator) in enumerate(tf_keras_generators(model)):
        if not tf_keras_private.keeps_state_in_operations(generator):
            tf_keras_private.initializer(generator)()
            continue
        own_seed = tf_keras_private.own_seed(generator)
        seed = own_seed
        if seed is None:
            named_seed = zlib.crc32(f"{index}/{_plain_name(layer)}".encode())
            # The random numbers that Keras draws seeds from are the user's too.
            seed = (_without_a_trace(tf_keras_private.seed_maker(generator))(None) * 1_000_003 + named_seed) % 2**31
        tf_keras_private.seed_statefully(generator, seed)
        with model.distribute_strategy.scope(), tf.init_scope():
            tf_keras_private.initializer(generator)()
        tf_keras_private.set_own_seed(generator, own_seed)
        if model.distribute_strategy.num_replicas_in_sync == 1:
            _draw_as_before(generator)
        changed = True
    return changed


def _draw_as_before(generator: Any) -> None:
    """Give a stateful generator the seeds of the operation that would stand in its place, when that would be traced.

    TensorFlow's operations with a state of their own and those with a variable draw by the same algorithm (Philox, with
    the first seed as key and the second in the upper half of the counter).
    """
    import tensorflow as tf

    stateful = tf_keras_private.stateful_generator(generator)
    untouched = stateful.state.numpy()

    def seeded(draw: Any) -> Any:
        @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
        @functools.wraps(draw)
        def draw_seeded(*args: Any, **kwargs: Any) -> Any:
            nonlocal untouched
            if not tf.executing_eagerly():
                # Also where the seeds are not used: those of the operations behind depend on how many were asked for.
                key, counter = tf.compat.v1.random.get_seed(generator.make_legacy_seed())
                with tf.init_scope():
                    # TensorFlow may trace twice before the first step. What was drawn from, or restored, stays.
                    if key is not None and np.array_equal(stateful.state.numpy(), untouched):
                        untouched = np.array([0, counter, key], np.int64)
                        stateful.state.assign(untouched)
            return draw(*args, **kwargs)

        return draw_seeded

    for name in ("uniform", "normal", "truncated_normal"):
        setattr(stateful, name, seeded(getattr(stateful, name)))


def _without_a_trace(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that draws Python's random numbers leave the generator as it was."""

    def drawn(*args: Any) -> Any:
        shared = tf_keras_private.generator_of_seeds()
        before = shared.getstate()
        try:
            return draw(*args)
        finally:
            shared.setstate(before)

    return drawn


def tf_keras_random(model: Any) -> Variables:
    """The states of the layers' generators."""
    generators = [tf_keras_private.stateful_generator(generator) for _, generator in tf_keras_generators(model)]
    states = [generator.state for generator in generators if generator]
    return name_variables("random", [state for variable in states for state in _each_replica(variable)])


def tf_keras_global(*, make: bool) -> Any:
    """The state of TensorFlow's global generator; None if nobody has used it, and it shall not be made."""
    import tensorflow as tf

    if tensorflow_private.global_generator() is None and make:
        # Not by get_global_generator, which is forbidden when operations are deterministic.
        tf.random.set_global_generator(tf.random.Generator.from_seed(0))
    generator = tensorflow_private.global_generator()
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
    return name_variables("optimizer", [v for v in model.optimizer.variables if id(v) not in foreign], parts=1)


def keras3_random(model: Any) -> Variables:
    """The states of the layers' seed generators."""
    others = {id(variable) for variable in [*model.weights, *model.metrics_variables]}
    states = [variable for variable in model.variables if id(variable) not in others]
    return name_variables("random", states)


def keras3_global(*, make: bool) -> Any:
    """The state of Keras's global seed generator; None if nobody has used it, and it shall not be made."""
    generator = keras3_private.global_seed_generator(make=make)
    return None if generator is None else generator.state


# -- both --------------------------------------------------------------------------------------------------------------


def frozen_variables(layers: Iterable[Any], own_variables: Callable[[Any], Iterable[Any]]) -> set[int]:
    """The identities of the variables of frozen layers; statistics of a trained layer are not among them.

    Args:
        layers: All layers of a model.
        own_variables: Gives the variables of one of them, without those of layers within it.
    """
    frozen = [layer for layer in layers if not layer.trainable]
    return {id(variable) for layer in frozen for variable in own_variables(layer)}


def metric_variables(model: Any, *, without: Any = None) -> Variables:
    """The accumulators of the running epoch, but for the step recorder's variable."""
    variables = [variable for metric in model.metrics for variable in metric.variables]
    return name_variables("metrics", [variable for variable in variables if variable is not without])
