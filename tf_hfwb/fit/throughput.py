"""How fast a training is."""

from __future__ import annotations


def throughput(steps: int, samples: int, seconds: float) -> dict[str, float | None]:
    """Steps and samples per second, under the rows' names; samples are None where nobody counts them.

    Args:
        steps: Optimizer steps.
        samples: Samples that were trained on.
        seconds: The time that this took, without evaluations.

    Example:
        >>> throughput(steps=10, samples=320, seconds=2.0)
        {'train/steps_per_second': 5.0, 'train/samples_per_second': 160.0}
    """
    if seconds <= 0:
        return {}
    return {
        "train/steps_per_second": steps / seconds,
        "train/samples_per_second": samples / seconds if samples else None,
    }
