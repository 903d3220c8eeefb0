"""How many tokens a training has seen."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Mapping
from typing import Any

from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.keras_compat import Logs
from tf_hfwb.resume.checkpoint_participants import TOKENS, CaptureState


class TokenCounts:
    """The tokens of each batch of a fit. The pipeline counts them when it makes the batch, ahead of the training."""

    def __init__(self) -> None:
        self._by_batch: dict[int, int] = {}
        self._sums = array("q", [0])  # Of the first batches, by their number.
        self._lock = threading.Lock()

    def add(self, batch: int, tokens: int) -> None:
        """The batch of that number, from 0, has so many. It may be said again, where the data is read again."""
        self._by_batch[batch] = tokens

    def total(self, batches: int) -> int:
        """The tokens of the first batches; all of them have been made. May be asked on any thread."""
        with self._lock:
            while len(self._sums) <= batches:
                self._sums.append(self._sums[-1] + self._by_batch.pop(len(self._sums) - 1))
            return self._sums[batches]


class TokenTotals(StepCallback):
    """Count the tokens of a training, those before a resume too.

    Args:
        counts: Those of the batches of this fit.
        in_rows: Whether each row of the run has the number, too.

    Attributes:
        tokens: The tokens of this fit, at its end.
        seen: Those of the whole training.
    """

    place = CallbackPlace.STATES
    participant_name = TOKENS

    def __init__(self, counts: TokenCounts, *, in_rows: bool) -> None:
        super().__init__()
        self.tokens = self.seen = 0
        self._counts = counts
        self._in_rows = in_rows
        self._before = 0
        self._first_batch = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Let the logger ask for them."""
        super().on_train_begin(logs)
        self._first_batch = self._schedule.batches
        self._session.participants.add(self)
        if self._in_rows:
            self._session.count_tokens = lambda batches: self._before + self._counts.total(batches)

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Add to the tokens of the resumed training."""
        self._before = state.get("tokens", 0)

    def capture_state(self) -> CaptureState:
        """The tokens so far."""
        tokens = self._count()
        return lambda: {"tokens": tokens}

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Sum up."""
        super().on_train_end(logs)
        self.seen = self._count()
        self.tokens = self.seen - self._before

    def _count(self) -> int:
        return self._before + self._counts.total(self._schedule.batches - self._first_batch)
