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

    Args:
        host: The model, built, with its optimizer.
        groups: The batches of an update.
        epoch_batches: The batches of the first epoch that were trained on before.
        batches: Those of all epochs.
    """

    def __init__(self, host: Host, groups: BatchGroups, epoch_batches: int, batches: int) -> None:
        super().__init__(host, groups, epoch_batches, batches)
        self._train_function: Callable[..., Any] = lambda *args: None
        self._recorder: Any = None
        self._variables: list[Any] = []
        self._sums: list[Any] = []
        self._place = 0

    @property
    def _method(self) -> str:
        return "apply"

    def _part_of(self, data: Any) -> Part:
        return Part(self._place == 0, 1.0 / (self._place + 1))

    def _add(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """In place of ``apply``."""
        self._note_addition()
        variables = self._host.model.trainable_variables if trainable_variables is None else trainable_variables
        if self._place == 0:
            self._variables = list(variables)
            # The step empties the gradients in place, where it is the user's.
            self._sums = [None if gradient is None else gradient.clone() for gradient in grads]
            return
        for place, gradient in enumerate(grads):
            if gradient is not None:
                total = self._sums[place]
                self._sums[place] = gradient.clone() if total is None else total.add_(gradient)

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

        count = self._place + 1
        with torch.no_grad():
            self._apply_original([None if total is None else total / count for total in self._sums], self._variables)
        self._variables, self._sums = [], []
        self._recorder.end_update()
        return outputs
