"""The form into which every kind of data is brought: samples that can be fetched by index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Source:
    """Samples that can be fetched by index.

    Attributes:
        num_samples: How many there are.
        fingerprint: Changes when the samples change.
        gather: From indices (int64 [batch]) to one batch, callable inside a graph.
        is_graph: Whether ``gather`` is graph operations only, so that several batches may be made at once.
    """

    num_samples: int
    fingerprint: str
    gather: Callable[[tf.Tensor], Any]
    is_graph: bool = True
