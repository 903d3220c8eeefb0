"""How TensorFlow computes in this process."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from tf_hfwb.keras_compat.transformers_private import methods_with_infinities


def make_deterministic() -> None:
    """Let it compute the same bits every time."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def checks_of_numbers(model: Any) -> Iterator[None]:
    """Stop the training of a model at the first operation that gives a NaN or an infinity.

    Raises:
        tf.errors.InvalidArgumentError: There was one; the error says which operation, and the line that made it.
    """
    import tensorflow as tf

    layers = [model, *getattr(model, "submodules", [])]
    unchecked = [(layer, name) for layer in layers for name in methods_with_infinities(layer)]
    for layer, name in unchecked:
        vars(layer)[name] = _without_checks(getattr(layer, name))
    tf.debugging.enable_check_numerics()
    try:
        yield
    finally:
        tf.debugging.disable_check_numerics()
        for layer, name in unchecked:
            del vars(layer)[name]
        model.train_function = model.test_function = model.predict_function = None  # They contain the checks.


def _without_checks(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method whose operations may give infinities, as what it returns has none."""
    import tensorflow as tf

    @functools.wraps(method)
    def compute(*args: Any, **kwargs: Any) -> Any:
        tf.debugging.disable_check_numerics()
        try:
            return method(*args, **kwargs)
        finally:
            tf.debugging.enable_check_numerics()

    return compute
