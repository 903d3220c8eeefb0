"""The base of callbacks that act on steps: when has a step ended, and which one was it."""

from __future__ import annotations

from tf_hfwb.callbacks.clock import StepClock
from tf_hfwb.keras_compat import Callback, Host, Logs, StepRecorder, host_of


class StepCallback(Callback):
    """Calls :meth:`on_steps_end` on the training thread whenever steps have ended.

    A step is seen to end where the next one begins, or at the end of the epoch, because Keras 3 calls
    ``on_train_batch_end`` on other threads, late and in any order, or else synchronises every step. The state of a
    step can still be read there: nothing has been trained in between.

    Subclasses that override a hook call it on this class too. ``stride`` batches pass between two calls.
    """

    _host: Host
    _recorder: StepRecorder
    _clock: StepClock

    def __init__(self, initial_global_step: int = 0) -> None:
        super().__init__()
        self._initial_global_step = initial_global_step
        self._steps_per_epoch: int | None = None
        self._stride = 1
        self._epoch = 0
        self._epoch_batches = 0
        self._begun: int | None = None
        self._ended = -1

    def on_steps_end(self, previous: int, batches: int) -> None:
        """The global step has moved from ``previous`` to ``self._clock.step``, with so many batches."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start the clock."""
        self._host = host_of(self.model)
        self._recorder = self._host.record_steps()
        self._clock = StepClock(self._host, self._recorder, self._initial_global_step)
        self._stride = self._host.steps_per_execution
        self._steps_per_epoch = self.params.get("steps")
        self.on_epoch_begin(0)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start counting the epoch's batches."""
        self._epoch, self._epoch_batches = epoch, 0
        self._begun, self._ended = None, -1

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """The step before has ended."""
        if self._begun is not None:
            self._advance(self._batches_between(self._begun, batch))
        self._begun = batch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Note that the step was taken: a generator may end where Keras had begun another one."""
        if batch > self._ended:
            self._ended = batch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """The epoch's last execution has ended; it may have been shorter than Keras says, or none at all."""
        if self._begun is None:
            return
        batches = self._clock.uncounted_batches()
        if batches is None:
            batches = self._batches_between(self._begun, max(self._begun, self._ended + 1))
        self._advance(batches)
        self._clock.finish_epoch()
        self._begun = None
        if self._steps_per_epoch is None:
            self._steps_per_epoch = self._epoch_batches

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Remember the step for the model's next fit."""
        self._clock.stop()

    def _batches_between(self, begin: int, end: int) -> int:
        """The batches trained on between two looks, which Keras numbers so.

        The last execution of an epoch may be shorter than ``steps_per_execution``, which Keras 3 does not tell.
        """
        told = self.params.get("steps")
        if self._stride > 1 and told is not None:
            return min(end - begin, told - self._epoch_batches)
        if self._stride > 1:
            recorded = self._clock.uncounted_batches()
            if recorded is not None:
                return recorded
        return end - begin

    @property
    def _epoch_reached(self) -> float:
        """The epoch with its fraction; without one while the number of batches is unknown, as with a generator."""
        return self._epoch + (self._epoch_batches / self._steps_per_epoch if self._steps_per_epoch else 0.0)

    def _advance(self, batches: int) -> None:
        previous = self._clock.step
        self._clock.advance(batches)
        self._epoch_batches += batches
        self.on_steps_end(previous, batches)
