"""Gradients as PyTorch's optimizers get them: dense, and clipped to a common norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SMALL = 1e-6  # As PyTorch adds it.


def dense(gradient: Any) -> Any:
    """The gradient of TensorFlow as a tensor: that of an embedding comes in slices, of which several may be of one row.

    The optimizers of Keras take norms and, in Keras 3, squares of such slices before they are added up.
    """
    import tensorflow as tf

    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, gradient.dense_shape[0])


def clip_to_global_norm(ops: Any, gradients: Sequence[Any], limit: float) -> list[Any]:
    """Gradients whose common norm is at most ``limit``.

    Args:
        ops: Functions on tensors.
        gradients: Dense tensors.
        limit: The highest norm.

    Follows ``torch.nn.utils.clip_grad_norm_``.
    """
    squares = [ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients]
    factor = ops.minimum(limit / (ops.sqrt(sum(squares)) + _SMALL), 1.0)
    return [gradient * ops.cast(factor, gradient.dtype) for gradient in gradients]
