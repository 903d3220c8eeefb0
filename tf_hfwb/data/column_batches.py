"""Batches that Python makes column by column: for NumPy as they are, for TensorFlow by a call out of the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.column_roles import Selection

if TYPE_CHECKING:
    import tensorflow as tf

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ColumnSpec:
    """What all batches of a column have in common.

    Attributes:
        shape: The axes of a row; None for one that varies.
        dtype: The type.
    """

    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]

    def in_graph(self, batch_size: int | None) -> tf.TensorSpec:
        """That of a tensor with so many rows; None for any number."""
        import tensorflow as tf

        return tf.TensorSpec([batch_size, *self.shape], self.dtype)


@dataclass(frozen=True)
class ColumnBatches:
    """Makes batches.

    Attributes:
        read: From indices (int64 [batch]) and a step to columns; it may give more than the model gets.
        selection: Which of them the model gets, and in which role.
        specs: What they are like.
    """

    read: Callable[[Array, int], Mapping[str, Array]]
    selection: Selection
    specs: Mapping[str, ColumnSpec]

    def gather(self, indices: Array, step: int) -> Any:
        """A batch of NumPy arrays."""
        return self.selection.arrange(self.read(indices, step))

    def in_numpy(self) -> Callable[[Array, int], Any]:
        """The function that makes such batches."""
        return self.gather

    def in_graph(self) -> Callable[[tf.Tensor, tf.Tensor], Any]:
        """The function that makes batches of tensors, in which Python runs for each."""
        import tensorflow as tf

        names = list(self.specs)

        def in_order(indices: Array, step: Array) -> list[Array]:
            batch = self.read(indices, int(step))
            return [batch[name] for name in names]

        def gather(indices: tf.Tensor, step: tf.Tensor) -> Any:
            size = indices.shape[0]  # Known where all batches are full.
            specs = [self.specs[name].in_graph(size) for name in names]
            tensors = tf.numpy_function(in_order, [indices, step], [spec.dtype for spec in specs])
            return self.selection.arrange(
                {
                    name: tf.ensure_shape(tensor, spec.shape)
                    for name, tensor, spec in zip(names, tensors, specs, strict=True)
                }
            )

        return gather
