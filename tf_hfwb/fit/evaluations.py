"""Evaluate in the middle of a fit, by steps or by epochs, and act on evaluations, whoever makes them."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Set
from typing import Any

from tf_hfwb.fit.metric_names import evaluation_name
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.keras_compat import Callback, Logs, fit_arguments
from tf_hfwb.step_policies import Policy

_logger = logging.getLogger("tf_hfwb")


class ValidationByKeras:
    """The validation that the running ``fit`` was asked for. To be made when training begins.

    Args:
        model: The model.

    Attributes:
        is_made: Whether there is one.
    """

    def __init__(self, model: Any) -> None:
        arguments = fit_arguments(model)
        self.is_made = arguments.get("validation_data") is not None
        self._frequency = arguments.get("validation_freq", 1)

    def is_expected(self, epoch: int) -> bool:
        """Whether an epoch, from 0, is one after which metrics are to be looked for: any, where there is none."""
        if not self.is_made:
            return True
        frequency = self._frequency
        return (epoch + 1) % frequency == 0 if isinstance(frequency, int) else epoch + 1 in frequency


class EvaluationCallback(StepCallback):
    """Calls :meth:`on_evaluated` on the training thread after each evaluation in a fit, whoever evaluates, and when.

    That is Keras at the end of an epoch, or callbacks that evaluate, by steps or by epochs; what several of them find
    at one step is one evaluation. Epochs at whose end nobody evaluates, as with ``validation_freq=2``, are passed over.
    """

    _validation: ValidationByKeras
    _is_validated: bool

    def on_evaluated(self, step: int, metrics: Logs) -> None:
        """The model was evaluated as it is after ``step``.

        Args:
            step: The global step.
            metrics: Named ``val_...`` or ``eval_...``; at the end of an epoch the training metrics too. Where nothing
                evaluates, each epoch counts, with its training metrics.
        """

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Listen to callbacks that evaluate, and find out whether Keras does."""
        super().on_train_begin(logs)
        self._validation = ValidationByKeras(self.model)
        self._is_validated = self._validation.is_made
        self._fit.evaluation_listeners.append(self.on_evaluated)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Take the epoch's evaluation, if it is Keras's."""
        super().on_epoch_end(epoch, logs)
        if self._fit.evaluated is not None:
            return
        reported = self._recorder.reported
        is_evaluated = any(evaluation_name(name) is not None for name in logs or {} if name not in reported)
        self._is_validated = self._is_validated or is_evaluated
        if is_evaluated or not self._is_validated:
            self.on_evaluated(self._clock.step, logs or {})


class EvaluateDuringFit(StepCallback):
    """Call ``evaluate`` when it is due, and add its metrics to the logs of the epoch as ``val_...``.

    Args:
        evaluate: Returns metrics named ``eval_...``; it must leave the training as it is.
        policy: When, by steps.
        each_epoch: Also at the end of each epoch.
    """

    _precedes_saving = True

    def __init__(self, evaluate: Callable[[], Mapping[str, Any]], policy: Policy, *, each_epoch: bool = False) -> None:
        super().__init__(policy)
        self._evaluate = evaluate
        self._each_epoch = each_epoch
        self._metrics: Mapping[str, Any] = {}
        self._is_due = False
        self._in_front: list[Any] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Show the others that evaluations by Keras are not all there is."""
        super().on_train_begin(logs)
        participants = self._fit.participants
        before = sum(name.startswith("EvaluateDuringFit") for name in participants)
        name = f"EvaluateDuringFit-{before}" if before else "EvaluateDuringFit"
        if self._fit.evaluated is None:
            self._fit.evaluated = self._clock.step, {}
        self._metrics = self._resumed(name).get("metrics", {})
        participants[name] = self._state
        self._fit.evaluators.append(self)
        everyone = getattr(fit_arguments(self.model).get("callbacks"), "callbacks", ())
        in_front = itertools.takewhile(lambda other: other is not self, everyone)
        self._in_front = [other for other in in_front if not isinstance(other, Callback)]  # Ours are told.

    def _state(self) -> Callable[[], dict[str, Any]]:
        metrics = {name: value for name, value in self._metrics.items() if isinstance(value, (int, float))}
        return lambda: {"metrics": metrics}

    def on_due_step_end(self, logs: Logs) -> None:
        """Evaluate as soon as Keras has taken over the state of the step: on JAX it has not yet."""
        self._is_due = True

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Evaluate what the step before has trained."""
        if self._is_due:
            self._evaluate_now()
        self._fit.tell_evaluated(self)

    def _evaluate_now(self) -> None:
        self._is_due = False
        self._metrics = self._evaluate()
        self._fit.add_evaluation(self._clock.step, dict(self._metrics))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Evaluate if that is each epoch's, and hand on the newest metrics."""
        super().on_epoch_end(epoch, logs)
        # Keras's own evaluation of the epoch is told by one of us, as nobody takes it from the logs any more.
        is_first = self._fit.evaluators[0] is self
        known = {name: value for name, value in (logs or {}).items() if is_first and name.startswith("val_")}
        if known:
            self._fit.add_evaluation(self._clock.step, known)
        if self._each_epoch or self._is_due:
            self._evaluate_now()
        self._fit.tell_evaluated(self)
        if isinstance(logs, dict):
            more = {
                f"val_{name.removeprefix('eval_')}": value
                for name, value in self._metrics.items()
                # Rates are nothing to monitor, and long in the progress bar.
                if isinstance(value, (int, float)) and not name.endswith(("_runtime", "_per_second"))
            }
            self._warn_guests_in_front(more.keys() - logs.keys())
            logs.update(more)  # Both Kerases hand one dict through all callbacks, History included.
            self._fit.handed_on.update(more)
        self._metrics = {}

    def _warn_guests_in_front(self, names: Set[str]) -> None:
        """Keras's own callbacks in front of this one do not see what it adds to the logs."""
        blind = [guest for guest in self._in_front if str(getattr(guest, "monitor", None)) in names]
        self._in_front = [guest for guest in self._in_front if guest not in blind]  # Said once.
        for guest in blind:
            _logger.warning(
                "%s(%r) stands in front of %s, which computes that metric, and so never sees it. Expected it behind. "
                "Swap them, or let wandb_callbacks(callbacks=[...]) put them in order.",
                type(guest).__name__,
                guest.monitor,
                type(self).__name__,
            )
