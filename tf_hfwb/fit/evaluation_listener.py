"""The base of callbacks that act on evaluations, whoever makes them."""

from __future__ import annotations

from tf_hfwb.fit.keras_validation import KerasValidation
from tf_hfwb.fit.metric_names import evaluation_name
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.keras_compat import Logs


class EvaluationCallback(StepCallback):
    """Calls :meth:`on_evaluated` on the training thread after each evaluation in a fit, whoever evaluates, and when.

    That is Keras at the end of an epoch, or callbacks that evaluate, by steps or by epochs; what several of them find
    at one step is one evaluation. Epochs at whose end nobody evaluates, as with ``validation_freq=2``, are passed over.
    """

    _validation: KerasValidation
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
        self._validation = KerasValidation(self.model)
        self._is_validated = self._validation.exists
        self._session.evaluations.listen(self.on_evaluated)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Take the epoch's evaluation, if it is Keras's."""
        super().on_epoch_end(epoch, logs)
        if self._session.evaluations.are_by_callbacks:
            return
        reported = self._recorder.reported
        is_evaluated = any(evaluation_name(name) is not None for name in logs or {} if name not in reported)
        self._is_validated = self._is_validated or is_evaluated
        if is_evaluated or not self._is_validated:
            self.on_evaluated(self._clock.step, logs or {})
