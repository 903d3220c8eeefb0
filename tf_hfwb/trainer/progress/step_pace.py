"""How fast a training is, and how long it still takes."""

from __future__ import annotations

from collections import deque

_WINDOW_SECS = 30.0  # The rate is that of so many seconds, or of the last two steps that were seen.


# In a log: the seconds between two lines at first and at most, and the share of all the time so far that they are.
_FIRST_GAP_SECS, _LONGEST_GAP_SECS, _GAP_SHARE = 10.0, 600.0, 0.05


def seconds_between_lines(elapsed: float) -> float:
    """How long a log waits for the next line of a training that has taken so many seconds.

    Example:
        >>> [seconds_between_lines(elapsed) for elapsed in (0, 3_600, 86_400)]
        [10.0, 180.0, 600.0]
    """
    return min(max(_FIRST_GAP_SECS, _GAP_SHARE * elapsed), _LONGEST_GAP_SECS)


class StepPace:
    """The pace of a training, from looks at how far it is.

    The rate is that of the last half minute, without the time that evaluations take. The time that is left comes from
    the whole training so far, with all evaluations and checkpoints, but without the first step, which compiles the
    model.

    Args:
        now: The time at which the training begins, in seconds.
        step: The step with which it begins.
        last_step: The step with which it ends.

    Attributes:
        began: The time at which the training began.
        step: The step that it has reached.

    Example:
        >>> pace = StepPace(0.0, 0, 100)
        >>> for second in (10, 11, 12):
        ...     pace.see(float(second), 2 * (second - 9))
        >>> pace.rate, pace.seconds_left(12.0)
        (2.0, 47.0)
    """

    def __init__(self, now: float, step: int, last_step: int) -> None:
        self.began = now
        self._last_step = last_step
        self.step = step
        self._first: tuple[float, int] | None = None  # When the first step was seen to have ended.
        self._recent: deque[tuple[float, int]] = deque()
        self._away = 0.0  # Seconds of evaluations.
        self._away_since: float | None = None

    def see(self, now: float, step: int) -> None:
        """The training has reached a step. A lower one than before is none: the look fell into the counting."""
        if step <= self.step:
            return
        self.step = step
        if self._first is None:
            self._first = now, step
        recent = self._recent
        recent.append((now - self._away, step))
        while len(recent) > 2 and recent[-1][0] - recent[1][0] >= _WINDOW_SECS:
            recent.popleft()

    def leave(self, now: float) -> None:
        """The training is interrupted by an evaluation."""
        self._away_since = now

    def come_back(self, now: float) -> None:
        """The evaluation has ended."""
        if self._away_since is not None:
            self._away += now - self._away_since
            self._away_since = None

    @property
    def is_away(self) -> bool:
        """Whether an evaluation is under way."""
        return self._away_since is not None

    @property
    def has_begun(self) -> bool:
        """Whether a step has been seen."""
        return self._first is not None

    @property
    def rate(self) -> float | None:
        """Steps per second; None as long as that is not known."""
        if len(self._recent) < 2:
            return None
        (earlier, step), (later, newest) = self._recent[0], self._recent[-1]
        return (newest - step) / (later - earlier) if later > earlier else None

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the last step has ended; None as long as that is not known."""
        if self._first is None or self.step <= self._first[1]:
            return None
        began, first_step = self._first
        return (now - began) / (self.step - first_step) * max(0, self._last_step - self.step)
