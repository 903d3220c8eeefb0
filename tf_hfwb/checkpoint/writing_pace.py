"""How long the thread that writes checkpoints rests after each few MiB.

It rests so that steps are hardly slower than without a save: less and less while they are not, and more where they are.
But it never rests so long that the next save is due before this one is written, for then training would wait.
"""

from __future__ import annotations

import collections
import weakref
from collections.abc import Callable

# Seconds, as long as nothing else is known. On two busy cores the slowest training step takes 1.12 times as long then
# as without a save, 1.25 times with a quarter of this rest, and twice as long with no rest.
_FIRST_REST = 0.02
_MAX_REST = 0.1
_LEAST_REST = 0.001  # Below it, none.

# Steps may take so much longer, as a share, before the writer rests more, and rests less again.
_TOO_SLOW, _HARDLY_SLOWER = 0.15, 0.05

_WINDOW_STEPS, _WINDOW_SECS = 4, 0.2  # How long steps are watched at a time, at least.
_USED_TIME = 0.8  # The share of the time until the next save in which this one is to be written.


class WritingPace:
    """Finds the pace of one writer. All times are seconds on one clock.

    Example:
        >>> pace = WritingPace()
        >>> pace.begin(now=0.0)
        >>> pace.rest_after(4 << 20, now=0.1)
        0.02
    """

    def __init__(self) -> None:
        self._steps_now: Callable[[], int | None] = lambda: None
        self._rest = _FIRST_REST
        self._submitted_at: float | None = None
        self._intervals: collections.deque[float] = collections.deque(maxlen=2)  # Seconds of training between saves.
        # Seconds of a step while nothing is written.
        self._calm: collections.deque[float] = collections.deque(maxlen=3)
        self._mark: tuple[float, int] | None = None  # The time and the steps since when steps are watched.
        self._total = 0  # Bytes of the save before.
        self._done = 0
        self._worked = 0.0
        self._resumed_at = 0.0
        self._is_writing = False

    def follow(self, steps_now: Callable[[], int]) -> None:
        """Watch the steps of a training.

        Args:
            steps_now: The bound method that tells their number, to any thread. It is not kept alive: after an exception
                nobody takes it back.
        """
        method = weakref.WeakMethod(steps_now)

        def steps_if_there() -> int | None:
            known = method()
            return None if known is None else known()

        self._steps_now = steps_if_there

    def submit(self, now: float, waited: float = 0.0) -> None:
        """A save is to be written.

        Args:
            now: The time.
            waited: The seconds that training has just waited for the writer.
        """
        if self._submitted_at is not None:
            self._intervals.append(now - waited - self._submitted_at)
        self._submitted_at = now
        if not self._is_writing:
            self._watch_calm_steps(now)

    def begin(self, now: float) -> None:
        """The writing of a save begins."""
        self._is_writing, self._done, self._worked = True, 0, 0.0
        self.resume(now)
        self._set_mark(now)

    def rest_after(self, size: int, now: float) -> float:
        """How long to rest now.

        Args:
            size: The bytes that were written since the last call.
            now: The time.
        """
        self._done += size
        self._worked += now - self._resumed_at
        self._watch_steps(now)
        wanted = self._rest if self._rest >= _LEAST_REST else 0.0
        return min(wanted, self._longest_rest(size, now))

    def resume(self, now: float) -> None:
        """A rest is over."""
        self._resumed_at = now

    def end(self, now: float) -> None:
        """The save is written."""
        self._is_writing, self._total = False, self._done
        self._set_mark(now)

    def _longest_rest(self, size: int, now: float) -> float:
        """With which the save is written before the next one is due."""
        if len(self._intervals) < 2 or self._submitted_at is None or not size:
            return _MAX_REST
        due = self._submitted_at + max(self._intervals)  # Two saves that follow at once say nothing of the next.
        left = max(self._total - self._done, size)
        spare = _USED_TIME * (due - now) - left * self._worked / self._done
        return max(0.0, spare * size / left)

    def _set_mark(self, now: float) -> None:
        steps = self._steps_now()
        self._mark = None if steps is None else (now, steps)

    def _seconds_per_step(self, now: float) -> float | None:
        """Of the steps since the mark; None if there are too few of them."""
        steps = self._steps_now()
        if self._mark is None or steps is None:
            return None
        seconds, number = now - self._mark[0], steps - self._mark[1]
        return seconds / number if number >= _WINDOW_STEPS and seconds >= _WINDOW_SECS else None

    def _watch_calm_steps(self, now: float) -> None:
        found = self._seconds_per_step(now)
        if found is not None:
            self._calm.append(found)

    def _watch_steps(self, now: float) -> None:
        found = self._seconds_per_step(now)
        if found is None:
            return
        self._set_mark(now)
        if not self._calm:
            return
        slower = found / min(self._calm) - 1
        if slower > _TOO_SLOW:
            self._rest = min(_MAX_REST, max(1.5 * self._rest, 5 * _LEAST_REST))
        elif slower < _HARDLY_SLOWER:
            self._rest /= 2
        if slower < 0:  # Something else, such as an evaluation, was in the time that counted as calm.
            self._calm.append(found)
