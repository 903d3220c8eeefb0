"""The parts of a batch and of a model's outputs: inputs, labels, weights, and the tensors that metrics take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

_HALF = ("float16", "bfloat16")


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


def tensors_in(outputs: Any, ignored: Collection[str] = ()) -> list[Any]:
    """The outputs that are tensors: tuples in them are hidden states or caches of layers, which no metric takes."""
    if isinstance(outputs, Mapping):
        outputs = [value for name, value in outputs.items() if name not in ignored]
    elif not isinstance(outputs, (list, tuple)):
        outputs = [outputs]
    return [value for value in outputs if value is not None and not isinstance(value, (list, tuple))]


def to_arrays(tensors: Collection[Any]) -> tuple[np.ndarray, ...]:
    """The tensors as arrays; what was computed in 16 bits in float32, which all of NumPy and scikit-learn takes."""
    arrays = map(np.asarray, tensors)
    return tuple(array.astype(np.float32) if str(array.dtype) in _HALF else array for array in arrays)


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
