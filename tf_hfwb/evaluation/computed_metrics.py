"""Metrics that need Python: a user's ``compute_metrics``, on all predictions of a pass or batch by batch."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.errors import SettingError
from tf_hfwb.evaluation.eval_prediction import prediction_class
from tf_hfwb.evaluation.metric_values import leaves, plain_value, single_number
from tf_hfwb.evaluation.prediction_pass import Gathering, Pass

_logger = logging.getLogger("tf_hfwb")


class ComputedMetrics:
    """A ``compute_metrics`` as the ``Trainer`` of transformers calls it.

    Args:
        compute_metrics: From an ``EvalPrediction`` to a dict of metrics; None for predictions only.
        preprocess: From the predictions and labels of a batch, as arrays or tuples of them, to what is kept.
        by_batches: Call ``compute_metrics(prediction, compute_result=...)`` with each batch instead of once with all of
            them. ``compute_result`` is True for the last batch, and only that result counts.
        include: What else an ``EvalPrediction`` holds: ``"inputs"``, ``"loss"``.
        told: Names of results that are not numbers, about which the user was warned already; more are added.
        joins: Whether an ``EvalPrediction`` of all batches has arrays; else it has lists of batches.

    Raises:
        SettingError: ``by_batches`` with a function that takes no ``compute_result``, or an argument is not a function.
    """

    def __init__(
        self,
        compute_metrics: Callable[..., Any] | None,
        *,
        preprocess: Callable[[Any, Any], Any] | None = None,
        by_batches: bool = False,
        include: Sequence[str] = (),
        told: set[str] | None = None,
        joins: bool = True,
    ) -> None:
        for name, function in (("compute_metrics", compute_metrics), ("preprocess_logits_for_metrics", preprocess)):
            if function is not None and not callable(function):
                raise SettingError(name, function, expected="a function, or None")
        if by_batches and compute_metrics is not None and not _takes(compute_metrics, "compute_result"):
            raise SettingError(
                "compute_metrics",
                getattr(compute_metrics, "__name__", compute_metrics),
                expected="a function of (prediction, compute_result), with batch_eval_metrics=True",
                advice="It is called with each batch; return the metrics of all of them when compute_result is True.",
            )
        self.compute = compute_metrics
        self.preprocess = preprocess
        self.by_batches = by_batches
        self.include = tuple(include)
        self.told = set() if told is None else told
        self.joins = joins

    def begin(
        self,
        generate: Callable[[Any], np.ndarray] | None = None,
        *,
        keeps: bool | None = None,
        ignored: frozenset[str] | None = None,
    ) -> MetricsOfPass:
        """Get ready for a pass over a data set.

        Args:
            generate: From inputs to generated ids, which are then the predictions.
            keeps: Whether all predictions are wanted; None: unless the metrics come batch by batch.
            ignored: The names of outputs that are not predictions; None for those that the model's configuration names.
        """
        return MetricsOfPass(self, generate, keeps=keeps, ignored=ignored)


class MetricsOfPass:
    """The metrics of one pass.

    Attributes:
        gathering: What the pass must do with its predictions.
    """

    def __init__(
        self,
        metrics: ComputedMetrics,
        generate: Callable[[Any], np.ndarray] | None,
        *,
        keeps: bool | None,
        ignored: frozenset[str] | None,
    ) -> None:
        self._metrics = metrics
        self._held: Pass | None = None
        by_batches = metrics.by_batches and metrics.compute is not None
        self.gathering = Gathering(
            generate=generate,
            preprocess=metrics.preprocess,
            each=self._add_batch if by_batches else None,
            keeps=not by_batches if keeps is None else keeps,
            with_inputs="inputs" in metrics.include,
            joins=metrics.joins,
            ignored=ignored,
        )

    def _add_batch(self, batch: Pass) -> None:
        """Compute the batch before: only when no other follows is it known to be the last."""
        if self._held is not None:
            self._compute(self._held, compute_result=False)
        self._held = batch if batch.labels is not None else None

    def results(self, done: Pass) -> dict[str, Any]:
        """The result of ``compute_metrics``, as plain values; empty where there are no labels.

        It may be nested. What is not a single number stays as it is, with one warning.

        Args:
            done: The whole pass.

        Raises:
            SettingError: The result is not a dict of metrics by name, or has two of one name.
        """
        if self._metrics.compute is None:
            return {}
        if self._metrics.by_batches:
            return {} if self._held is None else self._checked(self._compute(self._held, compute_result=True))
        return {} if done.labels is None else self._checked(self._compute(done))

    def _checked(self, results: Any) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for name, value in leaves(_check_results(results)):
            if name in flat:
                raise SettingError("compute_metrics(prediction)", results, expected=f"one metric of the name {name!r}")
            flat[name] = value
        others = [name for name, value in flat.items() if single_number(value) is None]
        if not self._metrics.told.issuperset(others):
            _logger.warning(
                "compute_metrics returned what is no number: %s. Expected numbers, or dicts of numbers. The others are "
                "neither logged nor can they be monitored; this is said once. Return one number for each name.",
                ", ".join(f"{name} ({type(flat[name]).__name__})" for name in others),
            )
            self._metrics.told.update(others)
        return {name: plain_value(value) for name, value in results.items()}

    def _compute(self, batch: Pass, **options: bool) -> Any:
        include, compute = self._metrics.include, self._metrics.compute
        prediction = prediction_class()(
            batch.predictions,
            batch.labels,
            inputs=batch.inputs if "inputs" in include else None,
            losses=batch.losses if "loss" in include else None,
        )
        return compute(prediction, **options) if compute is not None else None


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _check_results(results: Any) -> dict[str, Any]:
    if not isinstance(results, Mapping) or not all(isinstance(name, str) for name in results):
        raise SettingError(
            "compute_metrics(prediction)",
            results,
            expected=f"a dict of metrics by name, not {_article(type(results).__name__)}",
            advice='Return {"accuracy": ...}, for example.',
        )
    return dict(results)


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
