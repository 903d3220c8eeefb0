"""Turns what the training thread handed over into rows of the run. Everything here runs on the tracker's worker."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from tf_hfwb.fit.fit_session import FitSession
from tf_hfwb.fit.foreseen_steps import RegularSteps
from tf_hfwb.fit.metric_names import is_evaluation, training_metrics
from tf_hfwb.fit.throughput import throughput
from tf_hfwb.keras_compat import describe_value, difference, rate_of, to_float
from tf_hfwb.step_policies import higher_is_better, is_better
from tf_hfwb.tracking import Tracker
from tf_hfwb.tracking.run_history import EPOCH, STEP, is_rate

_logger = logging.getLogger("tf_hfwb")


class Moment(NamedTuple):
    """One point of the training, as the training thread saw it. Values may still be tensors.

    Attributes:
        step: The global step.
        epoch: The epoch, with its fraction.
        time: Seconds on the monotonic clock.
        evaluating: Seconds spent in evaluations since the fit began.
        steps: The step recorder's value.
        learning_rate: The rate used by the step, for :func:`~tf_hfwb.keras_compat.to_float`, if ``steps`` has none.
        logs: What the train step reported, by Keras's names.
    """

    step: int
    epoch: float
    time: float
    evaluating: float
    steps: Any
    learning_rate: Any
    logs: Mapping[str, Any]


@dataclass
class _Losses:
    """Sums since some moment."""

    total: float = 0.0
    batches: int = 0
    samples: int = 0

    def add(self, total: float, batches: int, samples: int) -> None:
        self.total += total
        self.batches += batches
        self.samples += samples

    @property
    def mean(self) -> float | None:
        return self.total / self.batches if self.batches else None


class RowSink(Protocol):
    """Where rows go: a run, or what else collects them."""

    trained_to: int

    def log(self, row: Mapping[str, Any]) -> None:
        """Take a row."""

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Take the totals of the fit."""


@dataclass
class TrainRows:
    """The training rows of one fit.

    Args:
        tracker: Where they go.
        start: The moment at which the fit began.
        told: The metrics that are no numbers, of which the user has been told.
        finite_only: Whether losses that are not finite are left out of means, unless an interval has no other.
        count_tokens: From a number of batches of this fit to the tokens that were seen then; None if nobody counts.
    """

    tracker: RowSink
    start: Moment
    told: set[str] = field(default_factory=set)
    finite_only: bool = False
    count_tokens: Callable[[int], int | None] = lambda batches: None
    _last: Moment = field(init=False)
    _captured: np.ndarray = field(init=False)
    _interval: _Losses = field(default_factory=_Losses)
    _fit: _Losses = field(default_factory=_Losses)
    _samples_before: int = 0
    _batches_before: int = 0

    @classmethod
    def of(cls, session: FitSession, tracker: RowSink, start: Moment, told: set[str]) -> TrainRows:
        """The rows of a fit as its callbacks want them: which losses count, and whether tokens do."""
        return cls(tracker, start, told, session.leaves_out_losses, session.tokens_after)

    def __post_init__(self) -> None:
        self._last = self.start
        self._captured = np.asarray(self.start.steps)

    def state(self, moment: Moment) -> dict[str, Any]:
        """What another process needs to write the next row as this one would."""
        self.take(moment.steps)
        return {
            "interval": asdict(self._interval),
            "fit": asdict(self._fit),
            "row": self._since(self._last, moment),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from another process's :meth:`state`; the start is the moment at which this one goes on."""
        self._interval, self._fit = _Losses(**state["interval"]), _Losses(**state["fit"])
        self._samples_before, self._batches_before = self._fit.samples, self._fit.batches
        self._last = self._before(self.start, state["row"])

    @staticmethod
    def _since(past: Moment, now: Moment) -> dict[str, float]:
        seconds = (now.time - past.time) - (now.evaluating - past.evaluating)
        return {"step": past.step, "epoch": past.epoch, "seconds": seconds}

    @staticmethod
    def _before(now: Moment, state: Mapping[str, Any]) -> Moment:
        return now._replace(step=state["step"], epoch=state["epoch"], time=now.time - state["seconds"])

    def take(self, steps: Any) -> None:
        """Add the steps since the last capture to the interval."""
        captured = np.asarray(steps)
        reading = difference(self._captured, captured)
        self._captured = captured
        counted = reading.train_losses
        if self.finite_only:
            counted = counted[np.isfinite(counted)]
        total = sum(counted.tolist())
        for losses in (self._interval, self._fit):
            losses.add(total, len(counted), reading.train_samples)

    def write(self, moment: Moment) -> None:
        """Write a row for the steps since the row before."""
        self.take(moment.steps)
        row: dict[str, float | None] = {**_numbers(training_metrics(moment.logs), self.told)}
        if self._interval.mean is not None:
            row["train/loss"] = self._interval.mean
        elif self._interval.samples:  # Trained on, and all of their losses left out.
            row["train/loss"] = math.nan
        rate = rate_of(self._captured)
        row["train/learning_rate"] = _rounded(to_float(moment.learning_rate) if rate is None else rate)
        seconds = (moment.time - self._last.time) - (moment.evaluating - self._last.evaluating)
        row.update(throughput(moment.step - self._last.step, self._interval.samples, seconds))
        row["train/num_input_tokens_seen"] = self.count_tokens(self._fit.batches - self._batches_before)
        self.tracker.log({**_known(row), EPOCH: moment.epoch, STEP: moment.step})
        self.tracker.trained_to = moment.step
        self._interval = _Losses()
        self._last = moment

    def write_regular(
        self,
        steps: RegularSteps,
        executions: int,
        now: float,
        evaluating: float,
        recorded: Any,
        logs: Mapping[str, Any],
    ) -> None:
        """Write the row of a step that was foreseen; the other arguments are as in :class:`Moment`."""
        step, epoch = steps.step_after(executions), steps.epoch_after(executions)
        self.write(Moment(step, epoch, now, evaluating, recorded, None, logs))

    def summarize(self, moment: Moment) -> None:
        """Write the totals of the fit into the run's summary: of all its time, as the ``Trainer`` of transformers."""
        self.take(moment.steps)
        seconds = moment.time - self.start.time
        rates = throughput(moment.step - self.start.step, self._fit.samples - self._samples_before, seconds)
        totals = {name.replace("train/", "train_"): value for name, value in rates.items()}
        totals["train_runtime"] = seconds
        totals["train_loss"] = self._fit.mean
        self.tracker.summarize(_known(totals))


@dataclass
class EvaluationRows:
    """The evaluation rows of a run, and the best value of each metric.

    Args:
        tracker: The run.
        is_higher_better: Whether more of a metric is better, by the row's name.
        told: The metrics that are no numbers, of which the user has been told.
    """

    tracker: Tracker
    is_higher_better: Callable[[str], bool] = higher_is_better
    told: set[str] = field(default_factory=set)

    def write_evaluation(self, evaluation: Evaluation, more: Mapping[str, Any]) -> None:
        """Write the row of an evaluation by Keras, together with ``more`` metrics under the row's names."""
        self.write({**more, **evaluation.metrics()}, evaluation.step, evaluation.epoch)

    def write(self, metrics: Mapping[str, Any], step: int, epoch: float | None) -> None:
        """Write a row and, where a metric is the best so far, its value and step into the summary.

        Args:
            metrics: By the row's names.
            step: The global step.
            epoch: The epoch, with its fraction; None where nobody knows it.
        """
        row = _numbers(metrics, self.told)
        if metrics and not row:
            return
        self.tracker.log({**row, **_known({EPOCH: epoch}), STEP: step})
        best: dict[str, float] = {}
        for name, value in row.items():
            if is_rate(name) or not is_evaluation(name):
                continue
            if is_better(value, self.tracker.best.get(name), higher=self.is_higher_better(name)):
                self.tracker.best[name] = value
                best |= {f"best/{name}": value, f"best/{name}_step": step}
        if best:
            self.tracker.summarize(best)


class Evaluation(NamedTuple):
    """One evaluation by Keras, as the training thread saw it.

    Attributes:
        step: The global step.
        epoch: The epoch, with its fraction; None where nobody knows it.
        seconds: How long it took.
        before: The step recorder's value at its begin.
        after: And at its end.
        logs: Keras's metrics, without a prefix.
    """

    step: int
    epoch: float | None
    seconds: float
    before: Any
    after: Any
    logs: Mapping[str, Any]

    def metrics(self) -> dict[str, Any]:
        """The metrics and rates under the row's names; reads tensors, so it belongs on the worker."""
        metrics = {f"eval/{name}": value for name, value in self.logs.items()}
        metrics["eval/runtime"] = self.seconds
        if self.seconds > 0:
            reading = difference(np.asarray(self.before), np.asarray(self.after))
            if reading.test_batches:
                metrics["eval/samples_per_second"] = reading.test_samples / self.seconds
                metrics["eval/steps_per_second"] = reading.test_batches / self.seconds
        return metrics


def _numbers(metrics: Mapping[str, Any], told: set[str]) -> dict[str, float]:
    """Those of the metrics that are numbers; says once of each other one that it is none.

    Args:
        metrics: By the row's names; values as hooks are handed them.
        told: The names of those of which that has been said.
    """
    numbers = {name: to_float(value) for name, value in metrics.items()}
    others = [name for name, value in numbers.items() if value is None and name not in told]
    told.update(others)
    for name in others:
        _logger.warning(
            "The metric %s is %s, and so in no row of the run. Expected one number, or an array of one element. Reduce "
            "it to one, as by its mean, or report each of its elements under a name of its own; this is said once.",
            name,
            describe_value(metrics[name]),
        )
    return _known(numbers)


def _rounded(rate: float | None) -> float | None:
    """A float32 as a person wrote it: 5e-05, not 4.999999873689376e-05."""
    return None if rate is None else float(str(np.float32(rate)))


def _known(row: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in row.items() if value is not None}
