"""Predictions over a whole data set, batches of unequal width included."""

from __future__ import annotations

from typing import Any

import numpy as np

PADDING = -100  # As the Trainer of transformers pads what it gathers.


def predict_batches(model: Any, dataset: Any) -> tuple[Any, Any]:
    """Run ``model`` over ``dataset`` and gather what it gives, and the labels.

    Args:
        model: A Keras model, of transformers or plain.
        dataset: A ``tf.data.Dataset`` of ``inputs`` or ``(inputs, labels, ...)``.

    Returns:
        Predictions and labels: an array [num_samples, ...], or a tuple of them when there are several; labels are None
        when there are none. Batches that differ in another axis than the first are padded with -100.
    """
    predictions: list[tuple[np.ndarray, ...]] = []
    labels: list[tuple[np.ndarray, ...]] = []
    ignored = {"loss", *getattr(getattr(model, "config", None), "keys_to_ignore_at_inference", ())}
    for batch in dataset:
        inputs, targets = (batch[0], batch[1]) if isinstance(batch, tuple) else (batch, None)
        predictions.append(_arrays(model.predict_on_batch(inputs), ignored))
        if targets is not None:
            labels.append(_arrays(targets, set()))
    return _gathered(predictions), _gathered(labels)


def _arrays(outputs: Any, ignored: set[str]) -> tuple[np.ndarray, ...]:
    if hasattr(outputs, "items"):
        outputs = [value for name, value in outputs.items() if name not in ignored and value is not None]
    elif not isinstance(outputs, (list, tuple)):
        outputs = [outputs]
    # Tuples inside are hidden states or caches of layers, which no metric takes.
    return tuple(np.asarray(value) for value in outputs if not isinstance(value, (list, tuple)))


def _gathered(batches: list[tuple[np.ndarray, ...]]) -> Any:
    if not batches:
        return None
    columns = tuple(_concatenated(list(column)) for column in zip(*batches, strict=True))
    return columns[0] if len(columns) == 1 else columns


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
    """The arrays along the first axis, all other axes padded to the widest."""
    shape = np.max([array.shape[1:] for array in arrays], axis=0) if arrays[0].ndim > 1 else ()
    padded = []
    for array in arrays:
        missing = [(0, 0), *((0, int(wide) - own) for wide, own in zip(shape, array.shape[1:], strict=True))]
        padded.append(np.pad(array, missing, constant_values=PADDING) if any(n for _, n in missing) else array)
    return np.concatenate(padded)
