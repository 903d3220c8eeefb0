"""How TensorFlow computes in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


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

    tf.debugging.enable_check_numerics()
    try:
        yield
    finally:
        tf.debugging.disable_check_numerics()
        model.train_function = model.test_function = model.predict_function = None  # They contain the checks.
