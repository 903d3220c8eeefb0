"""What an optimizer computes, whichever Keras runs it."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Update:
    """What the update of a weight needs to know beside its tensors.

    Attributes:
        rate: The learning rate, a tensor.
        number: Which update of the weight it is, a tensor that begins with 1.
        decay: The weight decay, 0 for a weight that does not decay.
        axes: The two axes of the weight that lie last in PyTorch's layout.
    """

    rate: Any
    number: Any
    decay: float
    axes: tuple[int, int]


@dataclass(frozen=True)
class KeptWeight:
    """What an optimizer keeps of one weight.

    Attributes:
        slots: The variables that the rule asks for, by name.
        decay: See :class:`Update`.
        axes: See :class:`Update`.
    """

    slots: dict[str, Any]
    decay: float
    axes: tuple[int, int]

    def update(self, rate: Any, number: Any) -> Update:
        """The update of this weight at that rate and number."""
        return Update(rate, number, self.decay, self.axes)


class UpdateRule(abc.ABC):
    """The arithmetic of an optimizer. A subclass is a frozen dataclass whose fields are its options.

    Tensors come from TensorFlow or JAX. ``ops`` has the functions on them, by the names of ``keras.ops``.
    """

    @abc.abstractmethod
    def slots(self, shape: Shape, axes: tuple[int, int]) -> dict[str, Shape]:
        """The tensors that are kept for a weight, each by its shape. They begin as zeros.

        Args:
            shape: The shape of the weight.
            axes: See :class:`Update`.
        """

    @abc.abstractmethod
    def apply(
        self, ops: Any, weight: Any, gradient: Any, slots: Mapping[str, Any], update: Update
    ) -> tuple[Any, dict[str, Any]]:
        """The new value of a weight, and those of its slots."""


def last_axes_in_pytorch(name: str, shape: Sequence[int]) -> tuple[int, int]:
    """The axes of a variable that lie last in PyTorch: of the kernel of a convolution those of the pixels.

    Example:
        >>> last_axes_in_pytorch("conv/kernel:0", (3, 3, 16, 32)), last_axes_in_pytorch("dense/kernel:0", (16, 32))
        ((0, 1), (-2, -1))
    """
    return (0, 1) if len(shape) > 2 and name.partition(":")[0].endswith("kernel") else (-2, -1)


def one_minus_power(ops: Any, base: float, exponent: Any) -> Any:
    """``1 - base ** exponent``, which float32 would round to four digits for a base near 1 and a small exponent."""
    return -ops.expm1(exponent * math.log(base)) if base > 0 else 1.0


def decayed_weight(weight: Any, update: Update) -> Any:
    """The weight after a decay that is independent of its gradient."""
    return weight * (1.0 - update.rate * update.decay) if update.decay else weight


def decayed_gradient(weight: Any, gradient: Any, update: Update) -> Any:
    """The gradient with that of a penalty on the weight's square."""
    return gradient + weight * update.decay if update.decay else gradient
