"""Compute the activations of a model's blocks again in the backward pass, so that they need not be kept.

Dropout must draw the same numbers again. So the generators of a block are put back to where they were, while it is
computed for the second time.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from tf_hfwb.keras_compat import tf_keras_private
from tf_hfwb.keras_compat.tf_keras_generators import generators_of, keep_random_state

_recomputing: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()


def recompute_blocks(model: Any) -> bool:
    """Let the blocks of a model of tf_keras be computed again in the backward pass; return whether it has any.

    Args:
        model: The model, with all of its weights. Its blocks are layers of one class that are in a list.
    """
    keep_activations(model)
    blocks = _recomputing[model] = _blocks(model)
    keep_random_state(model)
    for block in blocks:
        block.call = _Recomputed(block).watch(block.call)
    model.train_function = None
    return bool(blocks)


def keep_activations(model: Any) -> None:
    """Compute no block again, as before :func:`recompute_blocks`."""
    for block in _recomputing.pop(model, []):
        del vars(block)["call"]
        model.train_function = None


def _blocks(model: Any) -> list[Any]:
    """The layers in lists of layers of one class; not those within them."""
    import tf_keras

    found: list[Any] = []
    within: set[int] = set()
    for layer in [model, *model.submodules]:
        for value in [] if id(layer) in within else vars(layer).values():
            is_list = isinstance(value, list) and len({type(one) for one in value}) == 1
            if is_list and isinstance(value[0], tf_keras.layers.Layer) and any(value[0].submodules):
                found += value
                within.update(id(inner) for block in value for inner in [block, *block.submodules])
    return list({id(block): block for block in found}.values())


class _Recomputed:
    """One block. The outputs of a model of transformers may be None."""

    def __init__(self, block: Any) -> None:
        self._block = block
        self._is_inside = False
        self._generators = [tf_keras_private.stateful_generator(one) for _, one in generators_of(block)]

    def watch(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the block's ``call``."""

        @functools.wraps(call)
        def call_and_forget(*args: Any, **kwargs: Any) -> Any:
            if self._is_inside or not kwargs.get("training"):
                return call(*args, **kwargs)
            return self._compute(args, kwargs)

        return call_and_forget

    def _compute(self, args: Any, kwargs: Any) -> Any:
        """Call the block by its ``__call__``, within which its types are cast, when it is computed again too."""
        import tensorflow as tf

        given = tf.nest.flatten((args, kwargs))
        places = [index for index, one in enumerate(given) if tf.is_tensor(one) and one.dtype.is_floating]
        structure: list[Any] = []  # Of the outputs, when the block was computed for the first time.
        states: list[Any] = []  # Of the generators, before that.

        def forward(*tensors: Any) -> list[Any]:
            merged = dict(enumerate(given)) | dict(zip(places, tensors, strict=True))
            again_args, again_kwargs = tf.nest.pack_sequence_as((args, kwargs), [merged[i] for i in range(len(given))])
            now = [generator.state.read_value() for generator in self._generators]
            is_again = bool(structure)
            if is_again:
                self._set_states(states)
            states[:] = states or now
            self._is_inside = True
            try:
                outputs = self._block(*again_args, **again_kwargs)
            finally:
                self._is_inside = False
            if is_again:
                self._set_states(now)
            structure[:] = [outputs]
            return [one for one in tf.nest.flatten(outputs) if one is not None]

        computed = iter(tf.recompute_grad(forward)(*[given[place] for place in places]))
        flat = [None if one is None else next(computed) for one in tf.nest.flatten(structure[0])]
        return tf.nest.pack_sequence_as(structure[0], flat)

    def _set_states(self, states: list[Any]) -> None:
        for generator, state in zip(self._generators, states, strict=True):
            generator.state.assign(state)
