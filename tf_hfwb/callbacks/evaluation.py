"""Evaluate in the middle of a fit, by steps or by epochs, and show the result to the callbacks that come after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.callbacks.step import StepCallback
from tf_hfwb.keras_compat import Logs
from tf_hfwb.policies import EverySteps, Never


class EvaluateDuringFit(StepCallback):
    """Call ``evaluate`` when it is due, and add its metrics to the logs of the epoch as ``val_...``.

    Args:
        evaluate: Returns metrics named ``eval_...``; it must leave the training as it is.
        policy: When, by steps.
        each_epoch: Also at the end of each epoch.
    """

    def __init__(
        self, evaluate: Callable[[], Mapping[str, Any]], policy: EverySteps | Never, *, each_epoch: bool = False
    ) -> None:
        super().__init__()
        self._evaluate = evaluate
        self._policy = policy
        self._each_epoch = each_epoch
        self._metrics: Mapping[str, Any] = {}

    def on_steps_end(self, previous: int, batches: int) -> None:
        """Evaluate if it is due."""
        if self._policy.due(previous, self._clock.step):
            self._clock.confirm()
        if self._policy.due(previous, self._clock.step):
            self._metrics = self._evaluate()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Evaluate if that is each epoch's, and hand on the newest metrics."""
        super().on_epoch_end(epoch, logs)
        if self._each_epoch:
            self._metrics = self._evaluate()
        if isinstance(logs, dict):
            # Both Kerases hand one dict through all callbacks, History included.
            logs.update({f"val_{name.removeprefix('eval_')}": value for name, value in self._metrics.items()})
        self._metrics = {}
