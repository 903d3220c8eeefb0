"""Let the next training of a model begin in the middle of an epoch, as neither Keras offers.

``fit`` runs a loop over epochs, and within it a loop over steps. Each Keras asks at one point where both begin, and
that point can be replaced on the one model: see ``tf_keras_start.py`` and ``keras3_start.py``.

Until then only the model's ``fit`` is replaced, by one that sets the rest up and takes it away again. It stays until a
``fit`` has trained or has ended without an exception, so one that fails before its first step leaves the start to the
next. ``evaluate``, ``predict`` and ``train_on_batch`` are not touched.

Where Keras makes one pass over the data in each epoch, and with arrays, the right number of batches is skipped. A
stream that ``steps_per_epoch`` cuts into epochs must be started at the right place by the user. Data that Keras
shuffles is refused: the order of the interrupted epoch is lost.

Callbacks may find in their ``on_train_begin`` that nothing is left to train, for example after early stopping. Then
neither loop runs, because Keras 3 cannot end an epoch without a step.

The epoch's metrics are restored after Keras has reset them. On TensorFlow some metrics exist only after the first step.
So tf_keras traces its step before that, and Keras 3 is told to build them.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_hfwb.errors import SettingError

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class Start:
    """Where a training resumes, and what is to be done on the way.

    Attributes:
        epoch: The epoch, from 0.
        batch: The batch in it, from 0.
        batches: The batches of all epochs so far.
        prepare: Called when ``fit`` is called; may refuse.
        restore_metrics: Assigns the metrics of the epoch so far; called if ``batch`` is not 0, when all of them exist.
        is_left: Called when all callbacks have begun; tells whether any step is to follow.
        has_trained: Tells whether the ``fit`` has made a step.
        over: Called when this start is used up or replaced.
        generators: The states of the backend's generators, as :meth:`.StepRecorder.process_generators` gave them.
    """

    epoch: int
    batch: int
    batches: int
    prepare: Callable[[], None]
    restore_metrics: Callable[[], None]
    is_left: Callable[[], bool]
    has_trained: Callable[[], bool]
    over: Callable[[], None]
    generators: Mapping[str, np.ndarray]


Seam = Callable[[Any, Start], contextlib.AbstractContextManager[None]]


def begin_next_fit_at(model: Any, start: Start, seam: Seam) -> None:
    """Let the next ``fit`` that trains begin there; an earlier start is forgotten.

    Args:
        model: A compiled model.
        start: Where.
        seam: How its Keras is told, for the time of one ``fit``.
    """
    put_back_method(model, "fit")  # Of an earlier start.
    fit = model.fit

    @functools.wraps(fit)
    def restored_fit(*args: Any, **kwargs: Any) -> Any:
        start.prepare()
        failed = True
        try:
            with seam(model, start):
                result = fit(*args, **kwargs)
            failed = False
        finally:
            if start.has_trained() or not failed:
                forget_start(model)
        return result

    restored_fit.start = start  # type: ignore[attr-defined]
    replace_method(model, "fit", restored_fit)


def forget_start(model: Any) -> None:
    """Let the next ``fit`` begin where Keras lets it."""
    start = getattr(model.fit, "start", None)
    if start is not None:
        put_back_method(model, "fit")
        start.over()


def replace_method(model: Any, name: str, function: Any) -> None:
    """Put a function in the place of a method of this one model, until :func:`put_back_method`."""
    function.before = vars(model).get(name)
    setattr(model, name, function)


def put_back_method(model: Any, name: str) -> None:
    """Undo :func:`replace_method`, unless it is undone already."""
    function = vars(model).get(name)
    if function is not None and hasattr(function, "before"):
        if function.before is None:
            delattr(model, name)
        else:
            setattr(model, name, function.before)


def skip(data: Iterator[Any], number: int) -> None:
    """Take this many batches of the data, or all of them."""
    for _ in range(number):
        next(data, None)


def check_length(start: Start, steps_per_epoch: int | None, arguments: Any) -> None:
    """Refuse an epoch that has no batch left, or whose length is unknown; say so when no epoch is left."""
    epochs = arguments["epochs"]
    if start.epoch >= epochs:
        _logger.warning(
            "Nothing is left to train: epochs=%d, and the checkpoint has %d. Expected more, to go on. Pass epochs=%d, "
            "for example.",
            epochs,
            start.epoch,
            start.epoch + 1,
        )
    if start.batch and steps_per_epoch is None:
        raise SettingError(
            "steps_per_epoch",
            None,
            expected=f"a number, because training goes on at batch {start.batch} of an epoch, and this data tells no "
            "length",
            advice="Pass steps_per_epoch, and the dataset of training_batches(..., start_step=position.batches).",
        )
    if steps_per_epoch is not None and start.batch >= steps_per_epoch > 0:
        raise SettingError(
            "steps_per_epoch",
            steps_per_epoch,
            expected=f"more than {start.batch}, the number of batches that this epoch has had in the checkpoint",
            advice="Train with the data and the batch size that the checkpoint was made with.",
        )


def check_order(start: Start, skipped: int, arguments: Any) -> None:
    """Refuse to skip batches of data that Keras shuffles."""
    if skipped and arguments["shuffle"]:
        raise SettingError(
            "shuffle",
            arguments["shuffle"],
            expected=f"False, because training goes on at batch {start.batch} of an epoch, and nobody knows the order "
            "that Keras had drawn for it",
            advice="Take the data of training_batches(..., start_step=position.batches), whose order is; or restore a "
            "checkpoint of an epoch's end.",
        )
