"""The parts of a batch and of a model's outputs: inputs, labels, weights, and the tensors that metrics take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

_HALF = ("float16", "bfloat16")
_CACHES = ("past_key_values", "mems")  # Of generation: their first axis is not that of the samples.


def main_input(model: Any, inputs: Any) -> Any:
    """What a tokenizer or feature extractor made for the model; all inputs if the model does not name its main one."""
    if not isinstance(inputs, Mapping):
        return inputs
    return inputs.get(getattr(model, "main_input_name", None), inputs)


def ignored_outputs(model: Any, names: Collection[str] | None) -> set[str]:
    """The names of outputs that are not predictions; those of the model's configuration where no ``names`` are given.

    Follows ``Trainer.prediction_step`` of transformers.
    """
    if names is None:
        names = getattr(getattr(model, "config", None), "keys_to_ignore_at_inference", ())
    return {"loss", *names}


def tensors_in(values: Any) -> list[Any]:
    """The tensors among labels or inputs."""
    if isinstance(values, Mapping):
        values = values.values()
    elif not isinstance(values, (list, tuple)):
        values = [values]
    return [value for value in values if value is not None and not isinstance(value, (list, tuple))]


def predictions_in(outputs: Any, ignored: Collection[str] = ()) -> list[Any]:
    """The outputs that are predictions: tensors, and tuples of them, as the hidden states of all layers are.

    Args:
        outputs: The model's.
        ignored: The names of those that are none.
    """
    if isinstance(outputs, Mapping):
        outputs = [value for name, value in outputs.items() if name not in ignored and name not in _CACHES]
    elif not isinstance(outputs, (list, tuple)):
        outputs = [outputs]
    return [value for value in map(_without_none, outputs) if value is not None]


def _without_none(value: Any) -> Any:
    """A tensor, or a tuple of them; None where there is none in it."""
    if not isinstance(value, (list, tuple)):
        return value
    return tuple(one for one in map(_without_none, value) if one is not None) or None


def map_nested(function: Callable[[Any], Any], values: Iterable[Any]) -> tuple[Any, ...]:
    """What a function makes of each value, and of those in tuples and lists among them, which become tuples."""
    return tuple(
        map_nested(function, value) if isinstance(value, (list, tuple)) else function(value) for value in values
    )


def to_arrays(tensors: Iterable[Any]) -> tuple[Any, ...]:
    """The tensors as arrays; what was computed in 16 bits in float32, which all of NumPy and scikit-learn takes."""
    return map_nested(_to_array, tensors)


def _to_array(tensor: Any) -> np.ndarray:
    array = np.asarray(tensor)
    return array.astype(np.float32) if str(array.dtype) in _HALF else array


def as_arrays(inputs: Any) -> Any:
    """The inputs as every backend of Keras 3 takes them: the same structure, with arrays for tensors."""
    if isinstance(inputs, Mapping):
        return {name: as_arrays(value) for name, value in inputs.items()}
    if isinstance(inputs, (list, tuple)):
        return tuple(map(as_arrays, inputs))
    return inputs.numpy() if hasattr(inputs, "numpy") else inputs


def num_samples(inputs: Any) -> int:
    """The number of samples in a batch of inputs."""
    while isinstance(inputs, (Mapping, list, tuple)):
        inputs = next(iter(inputs.values() if isinstance(inputs, Mapping) else inputs))
    return int(inputs.shape[0])
