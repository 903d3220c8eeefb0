"""Whether all workers of a training are about to do the same.

Workers that differ wait for each other for ever: a step of one has operations that the step of the other lacks, or one
has a batch more. So they tell each other what they are about to do. They do so by the key-value store with which
TensorFlow coordinates workers, and not by operations of the training: those would be mixed up already.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tf_hfwb.errors import WorkerError
from tf_hfwb.keras_compat import tensorflow_private

WAIT = 1800.0  # Seconds, as PyTorch's processes wait for each other.

_SHOWN = 5  # Differences in a message.
_POLL = 1.0  # Seconds: in between Python handles signals.
_FAREWELL = 10.0  # Seconds in which a worker that fails lets the others find out why.

_exchanges = itertools.count()  # Each worker of a job makes the same ones.


def compare_workers(addresses: Sequence[str], index: int, facts: Mapping[str, Any], seconds: float = WAIT) -> None:
    """Wait for all workers of a job, and compare what they are about to do.

    Args:
        addresses: Those of all workers, the chief's first.
        index: The number of this process among them.
        facts: What must be the same on all of them, by its name, as JSON has it.
        seconds: How long to wait.

    Raises:
        WorkerError: Another worker differs, or does not come in time.
    """
    exchange = f"tf_hfwb/{next(_exchanges)}"
    text = json.dumps(facts, default=str, sort_keys=True)
    tensorflow_private.publish_to_workers()(f"{exchange}/{index}", text)
    own, end = json.loads(text), time.monotonic() + seconds
    differing: list[str] = []
    for other, address in enumerate(addresses):
        if other != index:
            found = _wait_for(f"{exchange}/{other}", end)
            if found is None:
                raise WorkerError(
                    f"Worker {other} ({address}) has not come to where worker {index} has been waiting for it for "
                    f"{seconds:.0f} s. Expected all {len(addresses)} workers of TF_CONFIG, with the same script, "
                    f"arguments and data. Look at the log of worker {other}; ddp_timeout says how long to wait."
                )
            if difference := _difference(own, json.loads(found), index, other):
                differing.append(
                    f"Worker {other} ({address}) is about to do something else than worker {index}: {difference}."
                )
    if differing:
        with contextlib.suppress(Exception):  # A worker that has ended already, and its service with it.
            tensorflow_private.meet_workers()(f"{exchange}/end", int(_FAREWELL * 1000))
        raise WorkerError(
            f"{' '.join(differing)} Expected the same on all {len(addresses)} workers: they would wait for each other "
            "for ever. Start all of them with the same script, arguments and data."
        )
    tensorflow_private.meet_workers()(f"{exchange}/end", int(seconds * 1000))


def _wait_for(key: str, end: float) -> str | None:
    """What another worker has published; None if it does not come in time."""
    import tensorflow as tf

    look_up = tensorflow_private.published_by_workers()
    while True:
        left = end - time.monotonic()
        try:
            return str(look_up(key, int(max(0.001, min(_POLL, left)) * 1000)))
        except (tf.errors.DeadlineExceededError, tf.errors.NotFoundError):
            if left <= _POLL:
                return None


def _difference(own: Mapping[str, Any], other: Mapping[str, Any], index: int, other_index: int) -> str:
    """What differs, in words; empty if nothing does."""
    names = [name for name in sorted({*own, *other}) if own.get(name) != other.get(name)]
    parts = [f"{name} is {other.get(name)!r} on {other_index} and {own.get(name)!r} on {index}" for name in names]
    more = [f"and {len(parts) - _SHOWN} more"] if len(parts) > _SHOWN else []
    return ", ".join([*parts[:_SHOWN], *more])
