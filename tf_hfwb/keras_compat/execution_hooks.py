"""What is called around the executions of the train function, within one ``fit`` or one loop of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ExecutionHooks:
    """The hooks of one fit. Every fit begins with empty ones, also after a fit that ended in an exception.

    Attributes:
        before: Called on the training thread before the train function runs, when Keras has taken over what it
            returned the last time.
        after: Called on the training thread with the logs, whenever the train function has returned.
        when_abandoned: Called when the next fit begins although this one did not end: an exception has ended it, and
            Keras tells no callback of that.
        is_own_loop: Whether the steps are those of a user's loop of ``train_on_batch``, and not of Keras's ``fit``.
        is_stopped: Whether no step is to follow, even if Keras has begun its batch.
        is_cut_short: Whether the rest of the epoch's batches is not to be trained on.
        batches_to_skip: How many these are; None where nobody knows. What reads the data leaves them out and sets it
            to 0.
        has_data_ended: Whether an execution has found that the data has ended, which Keras takes for the end of the
            epoch.
    """

    before: list[Callable[[], None]] = field(default_factory=list)
    after: list[Callable[[dict[str, Any]], None]] = field(default_factory=list)
    when_abandoned: list[Callable[[], None]] = field(default_factory=list)
    is_own_loop: bool = False
    is_stopped: bool = False
    is_cut_short: bool = False
    batches_to_skip: int | None = 0
    has_data_ended: bool = False
