"""How far a training is, in words that fit on one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_BAR_WIDTHS = (30, 20, 10, 5)  # Steps, or the bar would grow and shrink with the digits behind it.


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        step: The global step.
        first_step: The one with which the training began.
        last_step: The one with which it ends.
        epoch: The epoch that is under way, from 1.
        epochs: Those of the whole training.
        loss: The mean loss of the last steps; None before the first one.
        rate: Steps per second; None where it is not known.
        elapsed: Seconds since the training began.
        seconds_left: Seconds until its end; None where that is not known.
        is_evaluating: Whether an evaluation is under way.
    """

    step: int
    first_step: int
    last_step: int
    epoch: int
    epochs: int
    loss: float | None = None
    rate: float | None = None
    elapsed: float = 0.0
    seconds_left: float | None = None
    is_evaluating: bool = False

    @property
    def share(self) -> float:
        """The part of the training that is done, from 0 to 1."""
        return (self.step - self.first_step) / max(1, self.last_step - self.first_step)


def bar_line(progress: Progress, width: int) -> str:
    """A line with a bar, at most ``width`` characters long.

    Where there is no room the bar goes first, then the epoch, the rate and the loss.

    Example:
        >>> print(bar_line(Progress(30, 0, 120, 1, 4, 0.5, 8.0, 5.0, 11.0), 100))
         25% [========>                     ]  30/120, epoch 1/4, loss 0.5, 8 steps/s, 0:11 left
        >>> print(bar_line(Progress(30, 0, 120, 1, 4, 0.5, 8.0, 5.0, 11.0), 40))
         25%  30/120, loss 0.5, 0:11 left
    """
    percent = f"{int(100 * progress.share):3d}%"
    digits = len(str(progress.last_step))
    parts = {"step": f"{progress.step:{digits}}/{progress.last_step}", "epoch": _epoch(progress), **_state(progress)}
    line = ""
    for unwanted in ("elapsed", "epoch", "rate", "loss"):
        parts.pop(unwanted, None)
        text = ", ".join(filter(None, parts.values()))
        line = f"{percent} {text}"
        bar_width = next((one for one in _BAR_WIDTHS if len(line) + 3 + one <= width), None)
        if bar_width is not None:
            return f"{percent} [{_bar(progress.share, bar_width)}] {text}"
        if len(line) <= width:
            return line
    return line[:width]


def log_line(progress: Progress, found: Mapping[str, float] | None = None) -> str:
    """A line for a log.

    Args:
        progress: How far the training is.
        found: Metrics that stand in the place of the mean loss.

    Example:
        >>> log_line(Progress(30, 0, 120, 1, 4, 0.5, 8.0, 5.0, 11.0))
        'Step 30/120 (25%, epoch 1/4): loss 0.5, 8 steps/s, after 0:05, 0:11 left'
        >>> log_line(Progress(30, 0, 120, 1, 1), {"eval_loss": 0.25})
        'Step 30/120 (25%): eval_loss 0.25'
    """
    where = ", ".join(filter(None, [f"{int(100 * progress.share)}%", _epoch(progress)]))
    words = _state(progress) if found is None else {"found": metrics_in_words(found)}
    return f"Step {progress.step}/{progress.last_step} ({where}): " + ", ".join(filter(None, words.values()))


def metrics_in_words(metrics: Mapping[str, float]) -> str:
    """Metrics with four digits each."""
    return ", ".join(f"{name} {metrics[name]:.4g}" for name in loss_first(metrics))


def loss_first(names: Iterable[str]) -> list[str]:
    """Names of metrics as they are, but for the losses, which come first.

    Example:
        >>> loss_first(["accuracy", "loss", "eval_accuracy", "eval_loss"])
        ['loss', 'eval_loss', 'accuracy', 'eval_accuracy']
    """
    return sorted(names, key=lambda name: not name.endswith("loss"))


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    Example:
        >>> duration(5), duration(3725.4), duration(360000)
        ('0:05', '1:02:05', '100:00:00')
    """
    minutes, secs = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


def rate_in_words(rate: float | None) -> str:
    """Steps per second, or seconds per step; empty where it is not known.

    Example:
        >>> rate_in_words(12.345), rate_in_words(0.05), rate_in_words(None)
        ('12.3 steps/s', '20 s/step', '')
    """
    if not rate:
        return ""
    return f"{rate:.3g} steps/s" if rate >= 1 else f"{1 / rate:.3g} s/step"


def _epoch(progress: Progress) -> str:
    """Nothing where there is only one."""
    return f"epoch {progress.epoch}/{progress.epochs}" if progress.epochs > 1 else ""


def _state(progress: Progress) -> dict[str, str]:
    elapsed, left = duration(progress.elapsed), progress.seconds_left
    if progress.loss is None and not progress.is_evaluating:
        return {"first": f"preparing the first step, {elapsed}"}
    return {
        "loss": "" if progress.loss is None else f"loss {progress.loss:.4g}",
        "rate": "evaluating" if progress.is_evaluating else rate_in_words(progress.rate),
        "elapsed": f"after {elapsed}",
        "left": "" if left is None else f"{duration(left)} left",
    }


def _bar(share: float, width: int) -> str:
    done = round(share * width)
    return ("=" * done + (">" if done < width else ""))[:width].ljust(width)
