"""Where a model's next training continues: set by ``restore``, read by the callbacks when a fit begins."""

from __future__ import annotations

import logging
import pathlib
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tf_hfwb.resume.checkpoint_participants import Participants

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class Position:
    """A point between two steps of a training. False when it is the very beginning.

    Attributes:
        step: The global step: optimizer updates so far.
        epoch: The epoch that continues, from 0.
        batch: The batch of that epoch that comes next, from 0.
        batches: The batches of all epochs so far; what ``training_batches`` takes as ``start_step``.
        stream: Where a stream of data can be entered to get there; empty for other data.

    Example:
        >>> Position(step=10, epoch=1, batch=2, batches=10)
        Position(step=10, epoch=1, batch=2, batches=10)
        >>> bool(Position())
        False
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    batches: int = 0
    stream: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __bool__(self) -> bool:
        return self.step > 0 or self.batches > 0


@dataclass
class Resumption:
    """A training that is resumed.

    Attributes:
        position: Where.
        run: ``id``, ``project``, ``entity`` and ``name`` of the W&B run; empty without one.
        states: The state of each participant by its name.
        source: The directory of the checkpoint.
        participants: The participants of the fit that resumes it, which take over these states.
    """

    position: Position
    run: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, Any] = field(default_factory=dict)
    source: pathlib.Path = field(default_factory=pathlib.Path)
    participants: Participants = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A fit begins: nobody has taken over anything yet, whatever a fit that failed at once had taken over."""
        self.participants = Participants(self.states)

    def warn_of_dropped_states(self) -> None:
        """Say it when the fit that has begun lacks participants whose state the checkpoint holds."""
        warn_of_dropped(self.participants.dropped(), self.source)


def warn_of_dropped(names: Sequence[str], source: pathlib.Path) -> None:
    """Say it when what callbacks had counted does not go on.

    Args:
        names: Theirs; nothing is said of none.
        source: The checkpoint.
    """
    if names:
        _logger.warning(
            "%s holds the state of %s, which no callback of this fit takes over: it is dropped, and the next "
            "checkpoints lack it. Expected the callbacks with which it was written. Restore again and pass them to "
            "fit, unless they are not to go on.",
            source,
            ", ".join(names),
        )


_pending: weakref.WeakKeyDictionary[Any, Resumption] = weakref.WeakKeyDictionary()


def set_resumption(model: Any, resumption: Resumption) -> None:
    """Let the model's next training continue there."""
    _pending[model] = resumption


def resumption_of(model: Any) -> Resumption | None:
    """Where the fit that begins continues; None when it does not resume anything."""
    return _pending.get(model)


def clear_resumption(model: Any) -> None:
    """A fit has trained, or is over: the next one does not resume anything."""
    _pending.pop(model, None)
