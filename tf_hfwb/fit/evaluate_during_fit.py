"""Evaluate in the middle of a fit, by steps or by epochs."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Set
from typing import Any

from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.keras_compat import Callback, Logs, fit_arguments
from tf_hfwb.resume.checkpoint_participants import EVALUATIONS, CaptureState
from tf_hfwb.step_policies import Policy

_logger = logging.getLogger("tf_hfwb")


class EvaluateDuringFit(StepCallback):
    """Call ``evaluate`` when it is due, and add its metrics to the logs of the epoch as ``val_...``.

    Args:
        evaluate: Returns metrics named ``eval_...``; it must leave the training as it is.
        policy: When, by steps.
        each_epoch: Also at the end of each epoch.
        first_epoch: The epochs that must have passed before that.
        on_start: Also before the first step of a training; not where one is resumed.
    """

    place = CallbackPlace.EVALUATION
    _precedes_saving = True

    def __init__(
        self,
        evaluate: Callable[[], Mapping[str, Any]],
        policy: Policy,
        *,
        each_epoch: bool = False,
        first_epoch: float = 0,
        on_start: bool = False,
    ) -> None:
        super().__init__(policy)
        self._evaluate = evaluate
        self._each_epoch = each_epoch
        self._first_epoch = first_epoch
        self._on_start = on_start
        self._is_at_start = False
        self._metrics: Mapping[str, Any] = {}
        self._is_due = False
        self._in_front: list[Any] = []
        self.participant_name = EVALUATIONS

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Show the others that evaluations by Keras are not all there is."""
        super().on_train_begin(logs)
        session = self._session
        before = session.participants.count(EVALUATIONS)
        self.participant_name = f"{EVALUATIONS}-{before}" if before else EVALUATIONS
        session.evaluations.announce(self, self._clock.step)
        session.participants.add(self)
        everyone = getattr(fit_arguments(self.model).get("callbacks"), "callbacks", ())
        in_front = itertools.takewhile(lambda other: other is not self, everyone)
        self._in_front = [other for other in in_front if not isinstance(other, Callback)]  # Ours are told.
        self._is_at_start = self._on_start and session.resumption is None

    def capture_state(self) -> CaptureState:
        """What was found last, which the logs of the epoch do not have yet."""
        metrics = {name: value for name, value in self._metrics.items() if isinstance(value, (int, float))}
        return lambda: {"metrics": metrics}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Hand on, at the end of the epoch, what the process before has found in it."""
        self._metrics = state.get("metrics", {})

    def on_due_step_end(self, logs: Logs) -> None:
        """Evaluate as soon as Keras has taken over the state of the step: on JAX it has not yet."""
        self._is_due = True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Evaluate the model at the start."""
        super().on_epoch_begin(epoch, logs)
        if self._is_at_start:
            self._is_at_start = False
            self.evaluate_now()
            self._metrics = {}  # They are not the epoch's.

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Evaluate what the step before has trained."""
        if self._is_due:
            self.evaluate_now()
        self._session.evaluations.end_turn(self)

    def evaluate_now(self) -> None:
        """Evaluate the model as it is after the last step; to be called where Keras has taken over its state."""
        self._is_due = False
        self._metrics = self._evaluate()
        self._session.evaluations.add(self._clock.step, self._metrics)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Evaluate if that is each epoch's, and hand on the newest metrics."""
        super().on_epoch_end(epoch, logs)
        evaluations = self._session.evaluations
        if evaluations.is_first(self):
            # Keras's own evaluation of the epoch is told by one of us, as nobody takes it from the logs any more.
            by_keras = {name: value for name, value in (logs or {}).items() if name.startswith("val_")}
            if by_keras:
                evaluations.add(self._clock.step, by_keras)
        if (self._each_epoch and epoch + 1 >= self._first_epoch) or self._is_due:
            self.evaluate_now()
        evaluations.end_turn(self)
        if isinstance(logs, dict):
            self._hand_on(logs)
        self._metrics = {}

    def _hand_on(self, logs: dict[str, Any]) -> None:
        """Add to the logs what was found. Both Kerases hand one dict through all callbacks, History included."""
        added = {
            f"val_{name.removeprefix('eval_')}": value
            for name, value in self._metrics.items()
            # Rates are nothing to monitor, and long in the progress bar.
            if isinstance(value, (int, float)) and not name.endswith(("_runtime", "_per_second"))
        }
        self._warn_callbacks_in_front(added.keys() - logs.keys())
        logs.update(added)
        self._session.evaluations.handed_on.update(added)

    def _warn_callbacks_in_front(self, names: Set[str]) -> None:
        """Keras's own callbacks in front of this one do not see what it adds to the logs."""
        blind = [other for other in self._in_front if str(getattr(other, "monitor", None)) in names]
        self._in_front = [other for other in self._in_front if other not in blind]  # Said once.
        for other in blind:
            _logger.warning(
                "%s(%r) stands in front of %s, which computes that metric, and so never sees it. Expected it behind. "
                "Swap them, or let wandb_callbacks(callbacks=[...]) put them in order.",
                type(other).__name__,
                other.monitor,
                type(self).__name__,
            )
