"""The values of many variables as of now, without copying them and without waiting.

TensorFlow's read returns the variable's own buffer, which is copied only when the variable is written while the value
is still in use. So a snapshot costs one read for each variable, and the next step makes the copies in its own threads.
A sparse update, such as that of an embedding, reverses this: from then on reads copy. Large variables are switched back
before they are read. TensorFlow does not promise any of this, so :func:`copies_on_write` tries it once in a process. If
it does not hold, snapshots are copies.

On JAX the buffers of a step are donated to the next one. On CPUs a NumPy array is a view of such a buffer, and as long
as there is one the buffer is not given away: the next step writes into another. On other devices the arrays are copies
on the host, and all of them are begun before the first is waited for. :func:`jax_keeps_views` tries this once, too.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


def read(variable: Any) -> Any:
    """The value of a TensorFlow variable as of now, without copying it and without waiting for it.

    A plain variable is read by the operation itself, because ``read_value()`` takes four times as long.
    """
    import tensorflow as tf

    if hasattr(variable, "values"):  # A distributed variable, whose read also sums its replicas.
        return variable.read_value()
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)


@functools.cache
def copies_on_write() -> bool:
    """Whether a value that was read stays the same when the variable is written, by any operation."""
    with ThreadPoolExecutor(1) as outside:  # Another thread is outside of the distribution strategy of fit.
        return outside.submit(_try).result()


def _try() -> bool:
    import tensorflow as tf

    variables = [tf.Variable(tf.ones([4, 4])) for _ in range(4)]
    one, rows = tf.ones([]), tf.constant([0, 2])

    @tf.function  # type: ignore[untyped-decorator]
    def write() -> None:
        dense, sparse, sgd, momentum = variables
        dense.assign_add(tf.ones([4, 4]))
        sparse.scatter_sub(tf.IndexedSlices(tf.ones([2, 4]), rows))
        tf.raw_ops.ResourceApplyGradientDescent(var=sgd.handle, alpha=one, delta=tf.ones([4, 4]))
        tf.raw_ops.ResourceSparseApplyMomentum(
            var=momentum.handle,
            accum=sgd.handle,
            lr=one,
            grad=tf.ones([2, 4]),
            indices=rows,
            momentum=one,
        )

    write()
    before = _read_all(variables, large=0)
    copies = [np.array(value.numpy()) for value in before]
    for _ in range(2):
        write()
    changed = all(np.any(variable.numpy() != copy) for variable, copy in zip(variables, copies, strict=True))
    return changed and all(np.array_equal(value.numpy(), copy) for value, copy in zip(before, copies, strict=True))


def _read_all(variables: Sequence[Any], large: int = 1 << 20) -> list[Any]:
    import tensorflow as tf

    for variable in variables:  # For a small variable the operation costs more than the copy.
        is_plain = not hasattr(variable, "values") and "CPU" in variable.device
        elements = variable.shape.num_elements()
        if is_plain and (elements is None or elements * variable.dtype.size >= large):
            tf.raw_ops.DisableCopyOnRead(resource=variable.handle)
    return [read(variable) for variable in variables]


@functools.cache
def jax_keeps_views() -> bool:
    """Whether a NumPy array of a value stays the same when that value is donated to a computation."""
    import jax
    from jax import numpy as jnp

    step = jax.jit(lambda value: value + 1, donate_argnums=0)
    value = step(jnp.zeros([64, 64]))
    taken = np.asarray(value)
    for _ in range(2):
        value = step(value)
    return bool(np.all(np.asarray(value) == 3) and np.all(taken == 1))


def snapshot_of_jax(values: Sequence[Any]) -> list[np.ndarray]:
    """Arrays of JAX as of now, when they are computed."""
    take = np.asarray if jax_keeps_views() else np.array
    for value in values:
        value.copy_to_host_async()
    return [take(value) for value in values]


def snapshot(variables: Sequence[Any]) -> list[Any]:
    """The values of TensorFlow variables as of now, for :func:`numpy.asarray` on any thread."""
    values = _read_all(variables)
    return values if copies_on_write() else [np.array(value.numpy()) for value in values]
