"""What one pass over a data set gives, and how its batches are gathered: predictions, labels, inputs and losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tf_hfwb.errors import SettingError
from tf_hfwb.evaluation.batch_parts import map_nested

PADDING = -100  # As the Trainer of transformers pads what it gathers.

Arrays = tuple[Any, ...]  # Arrays, and tuples of them.


@dataclass
class Pass:
    """What a pass over a data set gave.

    Attributes:
        metrics: ``loss`` and the metrics that the model was compiled with; without labels there are none.
        predictions: An array [num_samples, ...], or a tuple of them when the model gives several, in which the states
            of all layers are a tuple themselves; None if not asked for. Batches that differ in another axis than the
            first are padded with -100. Where batches are not joined, a list of such arrays or tuples.
        labels: The labels in the same form; None without labels.
        inputs: The model's main input in the same form; None if not asked for.
        losses: For each sample the loss of its batch, if asked for and known.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    predictions: Any = None
    labels: Any = None
    inputs: Any = None
    losses: Any = None


@dataclass(frozen=True)
class Gathering:
    """What is to become of the predictions of a pass.

    Attributes:
        generate: From the inputs of a batch to generated ids [batch, width], which are then the predictions instead of
            the model's outputs.
        preprocess: From a batch's predictions and labels (arrays, or tuples of them) to what is kept as predictions.
        each: Called with each batch, in order.
        keeps: Whether to gather all batches. If not, a pass needs no more memory than a batch.
        with_inputs: Whether to keep the model's main input too.
        joins: Whether all batches become one array; else the pass has a list of batches.
        ignored: The names of outputs that are not predictions; None for those that the model's configuration names.
    """

    generate: Callable[[Any], np.ndarray] | None = None
    preprocess: Callable[[Any, Any], Any] | None = None
    each: Callable[[Pass], None] | None = None
    keeps: bool = True
    with_inputs: bool = False
    joins: bool = True
    ignored: frozenset[str] | None = None


class BatchGatherer:
    """Gathers the batches of a pass.

    Args:
        gathering: What to do with each batch; None to gather nothing.
    """

    def __init__(self, gathering: Gathering | None) -> None:
        self._gathering = gathering or Gathering(keeps=False)
        self._batches: list[Pass] = []

    def add(self, predictions: Arrays, labels: Arrays, inputs: Arrays, losses: np.ndarray | None) -> None:
        """Add a batch; ``losses`` are [batch], or None when they are not known."""
        batch = Pass({}, unpack_single(predictions), unpack_single(labels), unpack_single(inputs), losses)
        preprocess = self._gathering.preprocess
        if preprocess is not None and predictions:
            batch.predictions = _check_preprocessed(
                preprocess(batch.predictions, batch.labels), len(first_array(predictions))
            )
        if self._gathering.each is not None:
            self._gathering.each(batch)
        if self._gathering.keeps:
            self._batches.append(batch)

    def result(self) -> Pass:
        """All batches as one pass."""
        if not self._batches:
            return Pass()
        gather = _join if self._gathering.joins else _list
        return Pass(
            predictions=gather([batch.predictions for batch in self._batches]),
            labels=gather([batch.labels for batch in self._batches]),
            inputs=gather([batch.inputs for batch in self._batches]),
            losses=gather([batch.losses for batch in self._batches]),
        )


def unpack_single(values: Arrays) -> Any:
    """A single value itself, several as they are; None without any."""
    if not values:
        return None
    return values[0] if len(values) == 1 else values


def first_array(values: Any) -> Any:
    """An array itself, or the first one in nested tuples."""
    while isinstance(values, (list, tuple)):
        values = values[0]
    return values


def repeat_loss(total: float, num_samples: int) -> np.ndarray:
    """For each sample of a batch the mean loss of the batch."""
    return np.full(num_samples, total / max(num_samples, 1))


def _check_preprocessed(result: Any, num_samples: int) -> Any:
    """What ``preprocess_logits_for_metrics`` returned for a batch, as arrays."""
    values = map_nested(np.asarray, result if isinstance(result, (tuple, list)) else (result,))
    arrays = [*_arrays_in(values)]
    if not arrays or any(array.ndim == 0 or len(array) != num_samples for array in arrays):
        raise SettingError(
            "preprocess_logits_for_metrics(logits, labels)",
            [array.shape for array in arrays] if arrays else result,
            expected=f"an array, or a tuple of arrays, with the {num_samples} samples of the batch as first axis",
            advice="Reduce over the other axes only, as with logits.argmax(-1).",
        )
    return unpack_single(values)


def _arrays_in(values: Iterable[Any]) -> Iterator[np.ndarray]:
    for value in values:
        if isinstance(value, tuple):
            yield from _arrays_in(value)
        else:
            yield value


def _list(batches: Sequence[Any]) -> list[Any] | None:
    """The batches as they are; None if they have none."""
    return None if batches[0] is None else list(batches)


def _join(batches: Sequence[Any]) -> Any:
    """Arrays, or tuples of arrays, of each batch as one; None if the batches have none."""
    if batches[0] is None:
        return None
    rows = [batch if isinstance(batch, tuple) else (batch,) for batch in batches]
    return unpack_single(tuple(_concatenate(column) for column in zip(*rows, strict=True)))


def _concatenate(arrays: Sequence[Any]) -> Any:
    """The arrays along the first axis, all other axes padded to the longest; of tuples each array by itself."""
    if isinstance(arrays[0], tuple):
        return tuple(map(_concatenate, zip(*arrays, strict=True)))
    shape = tuple(np.max([array.shape[1:] for array in arrays], axis=0)) if arrays[0].ndim > 1 else ()
    return np.concatenate([_pad(array, shape) for array in arrays])


def _pad(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The array, padded at the end of each axis but the first."""
    missing = [int(length) - own for length, own in zip(shape, array.shape[1:], strict=True)]
    if not any(missing):
        return array
    return np.pad(array, [(0, 0), *((0, number) for number in missing)], constant_values=PADDING)
