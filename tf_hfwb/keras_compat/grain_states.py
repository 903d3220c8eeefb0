"""Where a loader of Grain stands, before each batch that a ``fit`` of Keras 3 gets of it.

Grain's iterators tell their state and can be put back to it (``get_state``, ``set_state``). Keras makes such an
iterator itself, and takes batches of it in advance. So its adapter is followed, for the time of one ``fit``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tf_hfwb.errors import DataError
from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.fit_arguments import fit_arguments

KEPT = 256  # States of the newest batches: more than Keras takes in advance, or than one update is made of.

_logger = logging.getLogger("tf_hfwb")


class GrainStates:
    """The states of a loader that is read in one stream, which ``steps_per_epoch`` cuts into epochs."""

    def __init__(self) -> None:
        self._states: dict[int, str | None] = {}
        self._number = 0
        self._start: str | None = None

    @classmethod
    def of_running_fit(cls, model: Any) -> GrainStates | None:
        """Those of the loader that the running ``fit`` of a model has; None where it has none, or other data."""
        iterator = fit_arguments(model).get("epoch_iterator")
        if iterator is None or not iterator.steps_per_epoch:  # Each epoch is a pass then, from the first batch on.
            return None
        if not keras3_private.reads_grain(iterator.data_adapter) or is_read_by_tensorflow():
            return None
        states = cls()
        keras3_private.follow_batches(iterator.data_adapter, states.read)
        return states

    def begin_at(self, number: int, state: str | None) -> None:
        """Let the fit begin there, when it begins to read.

        Args:
            number: The batches so far.
            state: What :meth:`before` said of the next one.
        """
        self._number, self._start = number, state

    def before(self, number: int) -> str | None:
        """The state before the batch of that number, as text; None if it is not known or cannot be written."""
        return self._states.get(number)

    def read(self, make: Callable[[], Any]) -> Iterator[Any]:
        """The batches of an iterator that Keras makes."""
        batches = iter(make())
        self._begin(batches)
        self._keep(batches)
        for batch in batches:
            self._number += 1
            self._keep(batches)
            yield batch

    def _begin(self, batches: Any) -> None:
        if self._states or not self._number:  # It has been read from already, or there is nothing before it.
            return
        if self._start is not None:
            try:
                batches.set_state(_from_text(self._start, batches))
            except Exception as error:
                raise _refusal(error) from error
            return
        _logger.warning(
            "The checkpoint does not hold the state of the Grain loader, which cannot be written as JSON. Expected one "
            "that can, such as of numbers. The %d batches before are read again instead.",
            self._number,
        )
        for _ in range(self._number):
            next(batches, None)

    def _keep(self, batches: Any) -> None:
        self._states[self._number] = _as_text(batches.get_state())
        self._states.pop(self._number - KEPT, None)


def is_read_by_tensorflow() -> bool:
    """Whether ``tf.data`` reads the loader, which takes any number of batches in advance."""
    import keras

    return bool(keras.backend.backend() == "tensorflow")


def _as_text(state: Any) -> str | None:
    if isinstance(state, bytes):  # Of a grain.DataLoader; it is JSON as well.
        return state.decode()
    try:
        return json.dumps(state, default=np.generic.item)  # Numbers may be NumPy's.
    except (TypeError, ValueError):
        return None


def _from_text(text: str, batches: Any) -> Any:
    return text.encode() if isinstance(batches.get_state(), bytes) else json.loads(text)


def _refusal(error: Exception) -> DataError:
    return DataError(
        f"A Grain loader cannot be put to the state in the checkpoint ({type(error).__name__}: {error}). Expected the "
        f"loader that the training had, with the same transformations and number of workers. Pass such a loader."
    )
