"""Generators whose state can be saved, for the layers of tf_keras that draw random numbers."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import tf_keras_private
from tf_hfwb.keras_compat.training_variables import plain_name

# More than any layer draws at once; of the counter's 128 bits it leaves enough for any training.
_ADVANCE = 2**40


def generators_of(model: Any) -> Iterator[tuple[Any, Any]]:
    """Each layer that draws random numbers, with its generator."""
    for layer in model.submodules:
        generator = tf_keras_private.generator_of(layer)
        if generator is not None:
            yield layer, generator


def keep_random_state(model: Any) -> bool:
    """Let every layer of a tf_keras model draw from a generator whose state can be saved.

    By default layers draw by operations whose state cannot be saved, each with seeds that it gets when it is traced.
    With the same seeds the layer's new generator draws the same numbers. Where there are no seeds, because
    TensorFlow's seed is not set, it is seeded from Keras's seed and the layer's place in the model.

    The numbers differ in two cases. A layer that is called several times in a step has one generator here, and one
    operation for each call there: only the first call draws the same. A layer with a seed of its own increments it each
    time it is traced, which happens more often without this function.

    Returns:
        Whether anything was changed. Functions that were traced before must then be traced again.
    """
    import tensorflow as tf

    changed = False
    has_replicas = model.distribute_strategy.num_replicas_in_sync > 1
    for index, (layer, generator) in enumerate(generators_of(model)):
        if not tf_keras_private.keeps_state_in_operations(generator):
            tf_keras_private.initializer(generator)()
            changed |= has_replicas and _advance_alike(generator)
            continue
        own_seed = tf_keras_private.own_seed(generator)
        seed = own_seed
        if seed is None:
            named_seed = zlib.crc32(f"{index}/{plain_name(layer)}".encode())
            # Keras draws seeds from random numbers that the user draws from as well.
            seed = (_without_a_trace(tf_keras_private.seed_maker(generator))(None) * 1_000_003 + named_seed) % 2**31
        tf_keras_private.seed_statefully(generator, seed)
        with model.distribute_strategy.scope(), tf.init_scope():
            tf_keras_private.initializer(generator)()
        tf_keras_private.set_own_seed(generator, own_seed)
        if has_replicas:
            _advance_alike(generator)
        else:
            _draw_as_before(generator)
        changed = True
    return changed


def _advance_alike(generator: Any) -> bool:
    """Let the state advance by the same in every replica, so that a checkpoint needs only one, of whatever number.

    By default it advances by the numbers that are drawn, and the last batch of an epoch may leave a replica with fewer
    samples than the others. Replicas still draw different numbers: TensorFlow mixes their index into the key.

    Returns:
        Whether anything was changed.
    """
    stateful = tf_keras_private.stateful_generator(generator)
    original = stateful.skip
    if getattr(original, "advances_alike", False):
        return False

    @functools.wraps(original)
    def skip(delta: Any) -> Any:
        return original(_ADVANCE)

    skip.advances_alike = True  # type: ignore[attr-defined]
    stateful.skip = skip
    return True


def _draw_as_before(generator: Any) -> None:
    """Give a stateful generator, when it is traced, the seeds of the operation that it replaces.

    TensorFlow's operations with hidden state and those with a variable use the same algorithm (Philox, with the first
    seed as key and the second one in the upper half of the counter).
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
                # Also where the seeds are not used, because those of later operations depend on the number of calls.
                key, counter = tf.compat.v1.random.get_seed(generator.make_legacy_seed())
                with tf.init_scope():
                    # TensorFlow may trace twice before the first step. A state that was used or restored is kept.
                    if key is not None and np.array_equal(stateful.state.numpy(), untouched):
                        untouched = np.array([0, counter, key], np.int64)
                        stateful.state.assign(untouched)
            return draw(*args, **kwargs)

        return draw_seeded

    for name in ("uniform", "normal", "truncated_normal"):
        setattr(stateful, name, seeded(getattr(stateful, name)))


def _without_a_trace(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that draws Python's random numbers put the state of the generator back."""

    def drawn(*args: Any) -> Any:
        shared = tf_keras_private.generator_of_seeds()
        before = shared.getstate()
        try:
            return draw(*args)
        finally:
            shared.setstate(before)

    return drawn
