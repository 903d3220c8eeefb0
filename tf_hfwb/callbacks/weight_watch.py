"""``WandbWatch``: how gradients and weights are distributed, layer by layer."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from tf_hfwb.dashboards.log_entries import Histogram
from tf_hfwb.errors import SettingError
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.keras_compat import Distribution, GradientObserver, Logs, distribution_of_array, distributions, host_of
from tf_hfwb.settings import Settings, Watch
from tf_hfwb.step_policies import EverySteps
from tf_hfwb.tracking import Tracker
from tf_hfwb.tracking.run_history import EPOCH, STEP
from tf_hfwb.validation.argument_checks import check_whole_number

_logger = logging.getLogger("tf_hfwb")

GRAD_NORM = "train/grad_norm"


class WandbWatch(StepCallback):
    """Log histograms and norms of gradients and weights to W&B, as ``wandb.watch`` does for PyTorch models.

    For tf_keras and Keras 3 models. A row at every multiple of ``log_freq`` steps has, for each trained variable:

    * ``gradients/{variable}``, ``parameters/{variable}``: a histogram of 64 bins between the lowest and the highest
      finite value of that step;
    * ``gradients_norm/{variable}``, ``parameters_norm/{variable}``: the Euclidean norm; NaN or infinite if a value is;
    * ``gradients_nonfinite/{variable}``, ``parameters_nonfinite/{variable}``: how many values are NaN or infinite,
      which the histogram leaves out; only if there are any;

    and ``train/grad_norm``, the norm of all gradients together. Weights are those after the step.

    Gradients are those that the optimizer gets: of the whole batch over all replicas, averaged over accumulated
    batches, without the loss scale, and before they are clipped. They are summed up inside the training graph, and only
    in the steps that are logged. The training itself stays the same, bit for bit. Frozen variables, and those to which
    no gradient leads, are left out.

    Args:
        log: ``"gradients"``, ``"parameters"`` or ``"all"``; else what ``WANDB_WATCH`` says, else gradients.
        log_freq: The interval in optimizer steps. Under ``steps_per_execution=k`` a row falls on the first boundary at
            or after the multiple and carries the true step.
        initial_global_step: The global step at which training starts, when the optimizer's counter does not know it.

    Raises:
        SettingError: An argument is not understood, or ``WANDB_WATCH`` is not.

    Example:
        >>> watch = WandbWatch("all", log_freq=4)
        >>> import keras
        >>> x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
        >>> y = (x[:, 0] > 0).astype("int64")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        >>> history = model.fit(x, y, batch_size=8, verbose=0, callbacks=[watch])

    Arguments and names of the histograms follow ``wandb.watch``.
    """

    place = CallbackPlace.WATCH

    def __init__(
        self,
        log: Literal["gradients", "parameters", "all"] | None = None,
        log_freq: int = 100,
        *,
        initial_global_step: int = 0,
    ) -> None:
        words = [watch.value for watch in Watch if watch is not Watch.FALSE]
        if log is not None and log not in words:
            raise SettingError("log", log, accepted=words)
        steps = check_whole_number("log_freq", log_freq, expected="a number of steps, 1 or more")
        first = check_whole_number(
            "initial_global_step", initial_global_step, minimum=0, expected="a number of steps, 0 or more"
        )
        super().__init__(EverySteps(steps), first)
        self._log_freq = steps
        self._first_step = 0
        self._has_looked = False
        self._settings = Settings.resolve(watch=log)
        self._what = Watch.GRADIENTS if self._settings.watch is Watch.FALSE else self._settings.watch
        self._tracker = Tracker()
        self._observer: GradientObserver | None = None
        self._parameters: list[Any] | None = None
        self._window: tuple[int, int] | None = None
        self._is_watching = False
        self._rows = _Rows(self._tracker)

    # -- the fit ---------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the run, and let the training graph sum up gradients when asked to."""
        self._host = host_of(self.model)
        self._tracker = self._find_session().run.open(self, self._settings)
        # All workers, in step: reading what replicas share needs all of them.
        self._is_watching = self._tracker.active or self._host.is_multi_worker
        if not self._is_watching:
            return
        super().on_train_begin(logs)
        self._window = self._parameters = self._observer = None
        self._rows = _Rows(self._tracker)
        self._first_step, self._has_looked = self._clock.step, False
        if self._what is not Watch.PARAMETERS:
            self._observer = self._host.observe_gradients()
            if self._observer is None:
                _logger.warning(
                    "WandbWatch leaves gradients out: with this model's distribution strategy those of the whole batch "
                    "cannot be seen. Expected a model that is built, on one device or under MirroredStrategy."
                )

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start counting the epoch's batches."""
        if self._is_watching:
            super().on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Log what is due of the epoch's last step."""
        if self._is_watching:
            super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Look away, and wait for the worker."""
        if self._is_watching:
            super().on_train_end(logs)
            self._is_watching = False
            if self._observer is not None:
                self._observer.look_away()
            self._tracker.flush_rows()
            if self._first_step < self._clock.step and not self._has_looked and self._tracker.active:
                _logger.warning(
                    "WandbWatch has logged nothing: none of the steps %d to %d is a multiple of log_freq=%d. Expected "
                    "a longer training. To see a short one pass WandbWatch(log_freq=...) with a smaller number.",
                    self._first_step + 1,
                    self._clock.step,
                    self._log_freq,
                )
            if self._rows.without_gradients and not self._rows.with_gradients:
                _logger.warning(
                    "WandbWatch has seen no gradients in %d rows: %s does not hand them to the methods of Keras's "
                    "optimizers through which they pass. Expected an optimizer that overrides neither apply_gradients "
                    "nor apply.",
                    self._rows.without_gradients,
                    type(self.model.optimizer).__name__,
                )

    # -- the steps -------------------------------------------------------------------------------------------------

    def on_planned(self) -> None:
        """Let the training graph look at the update at which the next row will be due."""
        planned = self._schedule.batches_until_due(self)
        if self._observer is None or planned is None:
            return
        # Of the execution that reaches it, the last update. The epoch may end, and Keras 3 continue, in its middle.
        begin, end = planned
        first, left = begin, self._schedule.batches_left()
        clock = self._clock
        if self._schedule.is_foreseeable and left is not None:
            last = min(end, max(left, begin + 1))
            first = max(begin, clock.updates_by(last) - 1)
        self._window = clock.iterations + first, clock.iterations + end - 1
        self._observer.look_at(*self._window)

    def on_due_step_end(self, logs: Logs) -> None:
        """Hand over what the step's row is made of."""
        self._has_looked = True
        window, self._window = self._window, None
        record = None
        if self._observer is not None and window is not None:
            record = _Record(self._observer.capture(), *window, self._observer.variables)
        parameters: list[Any] = []
        if self._what is not Watch.GRADIENTS:
            if self._parameters is None:
                self._parameters = list(self.model.trainable_variables)
            parameters = self._parameters
        values = self._host.snapshot(parameters)
        _, epoch = self._schedule.position()
        row = {EPOCH: epoch, STEP: self._clock.step}
        self._tracker.submit(self._rows.write, row, record, _names(parameters), values)


class _Record(NamedTuple):
    """What the training graph has written down, and for which of the optimizer's counts and variables."""

    value: Any
    first: int
    last: int
    variables: Sequence[Any]


class _Rows:
    """Turns what the training thread handed over into rows, on the tracker's worker.

    Attributes:
        with_gradients: The number of rows that have gradients.
        without_gradients: The number of rows that should have them and do not.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.with_gradients = self.without_gradients = 0

    def write(self, row: Mapping[str, Any], record: _Record | None, names: Sequence[str], values: list[Any]) -> None:
        """Count, and log what there is; each value is let go when it has been counted."""
        more: dict[str, Any] = {}
        if record is not None:
            more = self._gradients(record)
            self.with_gradients += bool(more)
            self.without_gradients += not more
        for name in names:
            more |= _named("parameters", name, distribution_of_array(np.asarray(values.pop(0))))
            self._tracker.rest()
        if more:
            self._tracker.log({**more, **row}, kept=(GRAD_NORM, *row))

    def _gradients(self, record: _Record) -> dict[str, Any]:
        found = distributions(np.asarray(record.value), record.first, record.last)
        if not found:
            return {}
        names = _names(record.variables)
        row: dict[str, Any] = {GRAD_NORM: math.sqrt(sum(distribution.norm**2 for distribution in found.values()))}
        for place, distribution in found.items():
            row |= _named("gradients", names[place], distribution)
            self._tracker.rest()
        return row


def _named(room: str, name: str, distribution: Distribution) -> dict[str, Any]:
    row = {
        f"{room}/{name}": Histogram(distribution.counts, distribution.edges),
        f"{room}_norm/{name}": distribution.norm,
    }
    if distribution.nonfinite:
        row[f"{room}_nonfinite/{name}"] = distribution.nonfinite
    return row


def _names(variables: Sequence[Any]) -> list[str]:
    """What Keras calls the variables; where it calls several the same, they are numbered."""
    names: list[str] = []
    for variable in variables:
        plain = name = str(getattr(variable, "path", variable.name)).partition(":")[0]
        number = 1
        while name in names:
            name, number = f"{plain}_{number}", number + 1
        names.append(name)
    return names
