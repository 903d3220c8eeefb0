"""How the values of a tensor are distributed: its norm, its range, and a histogram of 64 bins of equal width.

The same is computed in a TensorFlow graph, in JAX, in PyTorch, and in NumPy on a thread. On a backend the result is one
vector, so that the results of all tensors fit into one variable::

    [norm, lowest, highest, 64 counts, values that are NaN or infinite]

The range is that of the finite values. The norm is of all values, so it is NaN or infinite when one of them is. On a
backend, where squares are float32, it is also infinite above 1e19. Counts are float32 there too: above 2**24 values in
a bin they are rounded.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 64
SIZE = 3 + BINS + 1
_CHUNK = 1 << 17  # Values that NumPy works on at once, so that temporary arrays stay small and other threads run.


@dataclass(frozen=True)
class Distribution:
    """How the values of one tensor are distributed.

    Attributes:
        norm: The Euclidean norm.
        low: The lowest finite value; 0 when there is none.
        high: The highest finite value; 0 when there is none.
        counts: The number of finite values in each bin between them.
        nonfinite: The number of values that are NaN or infinite.
    """

    norm: float
    low: float
    high: float
    counts: np.ndarray
    nonfinite: int

    @property
    def edges(self) -> np.ndarray:
        """The ``BINS + 1`` edges of the bins, ascending also when all values are the same."""
        margin = 0.0 if self.high > self.low else max(0.5, abs(self.low) * 1e-6)
        return np.linspace(self.low - margin, self.high + margin, BINS + 1)


def distribution_of_vector(vector: np.ndarray) -> Distribution:
    """The distribution in a vector that a graph has computed."""
    counts = np.rint(vector[3:]).astype(np.int64)
    return Distribution(float(vector[0]), float(vector[1]), float(vector[2]), counts[:BINS], int(counts[BINS]))


def distribution_of_array(array: np.ndarray) -> Distribution:
    """The distribution of an array, in float32 as in a graph.

    Example:
        >>> distribution = distribution_of_array(np.array([0.0, 3.0, 4.0, np.nan]))
        >>> distribution.high, int(distribution.counts[-1]), distribution.nonfinite
        (4.0, 1, 1)
    """
    values = array.reshape(-1)
    chunks = [values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK)]
    squares, low, high, nonfinite = 0.0, np.inf, -np.inf, 0
    for chunk in chunks:
        chunk = chunk.astype(np.float32, copy=False)
        square = float(np.sum(np.square(chunk, dtype=np.float64)))
        finite = chunk if np.isfinite(square) else chunk[np.isfinite(chunk)]
        squares += square
        nonfinite += len(chunk) - len(finite)
        if len(finite):
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if nonfinite == len(values):
        low = high = 0.0
    middle, half = np.float32(low / 2 + high / 2), np.float32(high / 2 - low / 2)
    counts = np.zeros(BINS, np.int64)
    for chunk in chunks:
        chunk = chunk.astype(np.float32, copy=False)
        finite = chunk[np.isfinite(chunk)] if nonfinite else chunk
        if half > 0:
            bins = finite - middle
            bins /= half
            bins *= BINS // 2
            bins += BINS // 2
            np.clip(bins, 0, BINS - 1, out=bins)
            counts += np.bincount(bins.astype(np.intp), minlength=BINS)
        else:
            counts[BINS // 2] += len(finite)
    return Distribution(float(np.sqrt(squares)), low, high, counts, nonfinite)


def vector_in_tensorflow(tensor: Any, *, compiled: bool) -> Any:
    """The vector of a dense tensor.

    Args:
        tensor: The tensor, of any shape.
        compiled: Whether XLA compiles the graph; it knows no ``bincount``.
    """
    import tensorflow as tf

    return _tensorflow_function(compiled)(tf.reshape(tf.cast(tensor, tf.float32), [-1]))


@functools.cache
def _tensorflow_function(compiled: bool) -> Any:
    """One function for tensors of all sizes, because tracing one for each would take longer than tracing the model."""
    import tensorflow as tf

    def vector(values: Any) -> Any:
        finite = tf.math.is_finite(values)
        low = tf.reduce_min(tf.where(finite, values, np.inf))
        high = tf.reduce_max(tf.where(finite, values, -np.inf))
        low, high = (tf.where(tf.math.is_finite(end), end, 0.0) for end in (low, high))
        middle, half = low / 2 + high / 2, high / 2 - low / 2
        place = (values - middle) / tf.where(half > 0, half, 1.0) * (BINS // 2) + BINS // 2
        bins = tf.clip_by_value(tf.cast(tf.where(finite, place, 0.0), tf.int32), 0, BINS - 1)
        bins = tf.where(finite, bins, BINS)
        if compiled:  # XLA has no bincount, and comparing with every bin would take 65 times the memory.
            counts = tf.math.unsorted_segment_sum(tf.ones_like(bins), bins, BINS + 1)
        else:  # 30 times as fast.
            counts = tf.math.bincount(bins, minlength=BINS + 1, maxlength=BINS + 1)
        norm = tf.sqrt(tf.reduce_sum(tf.square(values)))
        return tf.concat([tf.stack([norm, low, high]), tf.cast(counts, tf.float32)], axis=0)

    return tf.function(vector, input_signature=[tf.TensorSpec([None], tf.float32)], autograph=False)


def vector_in_jax(tensor: Any) -> Any:
    """The vector of a JAX array."""
    from jax import numpy as jnp

    values = jnp.reshape(tensor, -1).astype("float32")
    finite = jnp.isfinite(values)
    low = jnp.min(values, where=finite, initial=jnp.inf)
    high = jnp.max(values, where=finite, initial=-jnp.inf)
    low, high = (jnp.where(jnp.isfinite(end), end, 0.0) for end in (low, high))
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    place = (values - middle) / jnp.where(half > 0, half, 1.0) * (BINS // 2) + BINS // 2
    bins = jnp.clip(jnp.where(finite, place, 0.0).astype("int32"), 0, BINS - 1)
    bins = jnp.where(finite, bins, BINS)
    counts = jnp.bincount(bins, length=BINS + 1)
    norm = jnp.sqrt(jnp.sum(jnp.square(values)))
    return jnp.concatenate([jnp.stack([norm, low, high]), counts.astype("float32")])


def vector_in_torch(tensor: Any) -> Any:
    """The vector of a tensor of PyTorch."""
    import torch

    values = tensor.detach().reshape(-1).float()
    finite = torch.isfinite(values)
    low = torch.where(finite, values, torch.inf).amin() if len(values) else values.new_zeros(())
    high = torch.where(finite, values, -torch.inf).amax() if len(values) else values.new_zeros(())
    low, high = (torch.where(torch.isfinite(end), end, 0.0) for end in (low, high))
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    place = (values - middle) / torch.where(half > 0, half, 1.0) * (BINS // 2) + BINS // 2
    bins = torch.where(finite, place, 0.0).to(torch.int64).clamp(0, BINS - 1)
    bins = torch.where(finite, bins, BINS)
    counts = torch.bincount(bins, minlength=BINS + 1)
    norm = values.square().sum().sqrt()
    return torch.cat([torch.stack([norm, low, high]), counts.float()])
