"""Gradients accumulated on PyTorch, for models of Keras 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tf_hfwb.keras_compat.accumulation.batch_groups import BatchGroups
from tf_hfwb.keras_compat.accumulation.gradient_accumulation import GradientAccumulation, Part

if TYPE_CHECKING:
    from tf_hfwb.keras_compat.host_base import Host


class TorchAccumulation(GradientAccumulation):
    """The sums are plain tensors. Keras reads the first batch of a group, and this the others.

    Arguments are as of the base class.
    """

    def __init__(self, host: Host, groups: BatchGroups, epoch_batches: int, batches: int) -> None:
        super().__init__(host, groups, epoch_batches, batches)
        self._weight: Any = 1.0  # Of the batch.
        self._total_weight: Any = 0.0  # Of those before it in the update.
        self._train_function: Callable[..., Any] = lambda *args: None
        self._recorder: Any = None
        self._variables: list[Any] = []
        self._sums: list[Any] = []
        self._place = 0

    @property
    def _method(self) -> str:
        return "apply"

    def _part_of(self, data: Any) -> Part:
        self._weight = 1.0 if self._weigh is None else self._weigh(data)
        if self._place == 0:
            self._total_weight = 0.0
        return Part(self._place == 0, _divided(self._weight, self._total_weight + self._weight))

    def _add(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """In place of ``apply``."""
        self._note_addition()
        variables = self._host.model.trainable_variables if trainable_variables is None else trainable_variables
        self._total_weight = self._total_weight + self._weight
        if self._place == 0:
            self._variables, self._sums = list(variables), [None] * len(grads)
        for place, gradient in enumerate(grads):
            if gradient is not None:
                total = self._sums[place]
                # The step empties the gradients in place, where it is the user's.
                weighed = gradient.clone() if self._weigh is None else gradient * self._weight
                self._sums[place] = weighed if total is None else total.add_(weighed)

    def _make(self, make: Callable[..., Any], recorder: Any) -> Any:
        make(force=True)
        self._train_function, self._recorder = self._host.model.train_function, recorder
        return self._train_function

    def _add_batch(self, place: int, *args: Any) -> Any:
        self._place = place
        data = args[0] if place == 0 else [next(self._recorder.passes.batches)]
        return self._train_function(data)

    def _apply(self, outputs: Any) -> Any:
        import torch

        with torch.no_grad():
            means = [None if total is None else _divided(total, self._total_weight) for total in self._sums]
            self._apply_original(means, self._variables)
        self._variables, self._sums = [], []
        self._recorder.end_update()
        return outputs


def _divided(total: Any, weight: Any) -> Any:
    """A share of all weights; 0 where all of them are."""
    return total / (weight.clamp(min=1.0) if hasattr(weight, "clamp") else weight)
