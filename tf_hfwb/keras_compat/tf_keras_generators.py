"""Generators whose state can be saved, for the layers of tf_keras that draw random numbers."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import tf_keras_private
from tf_hfwb.keras_compat.training_variables import plain_name


def generators_of(model: Any) -> Iterator[tuple[Any, Any]]:
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
    for index, (layer, generator) in enumerate(generators_of(model)):
        if not tf_keras_private.keeps_state_in_operations(generator):
            tf_keras_private.initializer(generator)()
            continue
        own_seed = tf_keras_private.own_seed(generator)
        seed = own_seed
        if seed is None:
            named_seed = zlib.crc32(f"{index}/{plain_name(layer)}".encode())
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
