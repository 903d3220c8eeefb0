"""The evaluations of one fit that callbacks make, as all its callbacks see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

EvaluationListener = Callable[[int, dict[str, Any]], None]
EvaluationLogger = Callable[[dict[str, Any], float], None]


class SharedEvaluations:
    """What callbacks that evaluate have found, and who is to be told.

    Several callbacks may evaluate at one step. What they find together is one evaluation, so listeners are called when
    the last of them has had its turn.

    Attributes:
        newest: The global step and the metrics of the newest evaluation by a callback; None while Keras is the only one
            that evaluates.
        handed_on: The names in the logs of an epoch under which evaluators put what they found, maybe at an earlier
            step.
        loggers: Called with the metrics of an evaluation and its seconds, to log them.
    """

    def __init__(self) -> None:
        self.newest: tuple[int, dict[str, Any]] | None = None
        self.handed_on: set[str] = set()
        self.loggers: list[EvaluationLogger] = []
        self._evaluators: list[object] = []  # In the order in which Keras calls them.
        self._listeners: list[EvaluationListener] = []
        self._untold: tuple[int, dict[str, Any]] | None = None

    @property
    def are_by_callbacks(self) -> bool:
        """Whether callbacks evaluate, and not Keras alone."""
        return self.newest is not None

    def listen(self, listener: EvaluationListener) -> None:
        """Call it with the step and the metrics, once for each step at which callbacks evaluate."""
        self._listeners.append(listener)

    def announce(self, evaluator: object, step: int) -> None:
        """A callback is going to evaluate; the fit begins at ``step``."""
        self._evaluators.append(evaluator)
        if self.newest is None:
            self.newest = step, {}

    def is_first(self, evaluator: object) -> bool:
        """Whether it is the first one that Keras calls."""
        return self._evaluators[0] is evaluator

    def add(self, step: int, metrics: Mapping[str, Any]) -> None:
        """A callback has evaluated the model as it is after ``step``."""
        known = self.newest[1] if self.newest is not None and self.newest[0] == step else {}
        self.newest = step, {**known, **metrics}
        untold = {} if self._untold is None else self._untold[1]
        self._untold = step, {**untold, **metrics}

    def at(self, step: int) -> Mapping[str, Any]:
        """What callbacks have found at this very step."""
        return self.newest[1] if self.newest is not None and self.newest[0] == step else {}

    def own_logs(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        """The logs of an epoch without what evaluators have put there."""
        return {name: value for name, value in logs.items() if name not in self.handed_on}

    def end_turn(self, evaluator: object) -> None:
        """An evaluator has had its turn: tell the listeners, if it was the last one and there is anything new."""
        if self._untold is not None and evaluator is self._evaluators[-1]:
            (step, metrics), self._untold = self._untold, None
            for listener in self._listeners:
                listener(step, metrics)
