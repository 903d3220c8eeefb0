"""What the callbacks of one ``fit`` share, whatever their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Fit:
    """One fit. It begins with nothing in it, also after one that ended in an exception.

    Attributes:
        listeners: Called with the logs, on the training thread, whenever the train function has returned.
        gates: Called on the training thread before the train function runs, when Keras has taken over what it
            returned the last time.
        participants: The callbacks whose state a checkpoint holds, by name.
        evaluated: The global step and the metrics of the last evaluation by a callback; None while Keras is the only
            one that evaluates.
        evaluators: The callbacks that evaluate, in the order in which Keras calls them.
        handed_on: The names in the logs of an epoch under which they put what they found, maybe at an earlier step.
        untold: What they have found since the listeners were told.
        evaluation_listeners: Called with the step and the metrics, on the training thread, once for each step at which
            callbacks evaluate.
        evaluation_loggers: Called with the metrics of such an evaluation and its seconds, to log them.
        directions: Whether more is better of the metrics, by the row's names, whose direction a callback was told.
        needed_steps: The steps whose checkpoints callbacks want to find again, by the callback.
        last_saves: Called with the logs by :meth:`end`: they save the weights of the last step.
        restorers: Called by :meth:`end` after that: they may put other weights into the model, and return what is
            known of these (``global_step``, ``epoch``, ``metrics``), or None.
        restored: What the last of them has returned.
        notes: What callbacks want to be said of the model at the end, by name.
        is_stopped: Whether no step is to follow, even if Keras has begun its batch.
        when_interrupted: Called when the next fit begins, as far as they are still there: an exception has ended this
            one, of which Keras tells no callback.
    """

    listeners: list[Callable[[dict[str, Any]], None]] = field(default_factory=list)
    gates: list[Callable[[], None]] = field(default_factory=list)
    participants: dict[str, Any] = field(default_factory=dict)
    evaluated: tuple[int, dict[str, Any]] | None = None
    evaluators: list[Any] = field(default_factory=list)
    handed_on: set[str] = field(default_factory=set)
    untold: tuple[int, dict[str, Any]] | None = None
    evaluation_listeners: list[Callable[[int, dict[str, Any]], None]] = field(default_factory=list)
    evaluation_loggers: list[Callable[[dict[str, Any], float], None]] = field(default_factory=list)
    directions: dict[str, bool] = field(default_factory=dict)
    needed_steps: dict[str, int] = field(default_factory=dict)
    last_saves: list[Callable[[Mapping[str, Any]], None]] = field(default_factory=list)
    restorers: list[Callable[[], dict[str, Any] | None]] = field(default_factory=list)
    restored: dict[str, Any] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    is_stopped: bool = False
    when_interrupted: list[Callable[[], None]] = field(default_factory=list)

    def add_evaluation(self, step: int, metrics: dict[str, Any]) -> None:
        """A callback has evaluated the model as it is after ``step``; there may be several such callbacks."""
        known = {} if self.evaluated is None or self.evaluated[0] != step else self.evaluated[1]
        self.evaluated = step, {**known, **metrics}
        untold = {} if self.untold is None else self.untold[1]
        self.untold = step, {**untold, **metrics}

    def tell_evaluated(self, evaluator: Any) -> None:
        """Tell the listeners what was found at a step, once the last callback that evaluates has had its turn."""
        if self.untold is not None and evaluator is self.evaluators[-1]:
            (step, metrics), self.untold = self.untold, None
            for listener in self.evaluation_listeners:
                listener(step, metrics)

    def end(self, logs: Mapping[str, Any]) -> None:
        """Training has ended: save its last step, then give the model the weights that it shall have.

        Callbacks that do either, or that look at the result, call this at the end of training; the first one does it.
        So the order in which they stand in the list does not matter.
        """
        saves, restorers = [*self.last_saves], [*self.restorers]
        self.last_saves.clear()
        self.restorers.clear()
        for save in saves:
            save(logs)
        for restore in restorers:
            self.restored = restore() or self.restored
