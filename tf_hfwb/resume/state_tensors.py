"""The tensors of ``training_state.safetensors``: their names, and how they are matched with a model's variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.errors import CorruptCheckpointError, StateMismatchError

TENSORS = "training_state.safetensors"

RECORDER = "recorder"
NUMPY_GENERATOR = "random/numpy"
PYTHON_GENERATOR = "random/python"
GLOBAL_GENERATOR = "random/global"
PROCESS_GENERATORS = "generators/"  # The beginning of the names of those that a backend has for itself.

Arrays = dict[str, np.ndarray]
Assignments = list[tuple[Any, np.ndarray]]


def read_state_tensors(checkpoint: Checkpoint) -> Arrays:
    """Read everything that is a tensor and not in the model's own files.

    Raises:
        CorruptCheckpointError: There are none, or they cannot be read.
    """
    if TENSORS not in checkpoint.files:
        raise CorruptCheckpointError(
            f"{checkpoint.path} holds no state of a training: its manifest does not name {TENSORS}. Expected a "
            "checkpoint of a training. Use another one."
        )
    return checkpoint.read_tensors(TENSORS)


def with_prefix(tensors: Arrays, prefix: str) -> Arrays:
    """The tensors whose names begin with ``prefix``."""
    return {name: value for name, value in tensors.items() if name.startswith(prefix)}


def match_tensors(where: str, what: str, variables: Mapping[str, Any], tensors: Arrays) -> Assignments:
    """Pair each variable with its value; nothing is assigned yet.

    Args:
        where: The checkpoint, for the error.
        what: What the variables are, for the error.
        variables: By the names of their tensors.
        tensors: The values, of exactly these variables.

    Raises:
        StateMismatchError: A tensor is missing, unknown or of another shape or type.
    """
    missing = [name for name in variables if name not in tensors]
    unknown = [name for name in tensors if name not in variables]
    wrong = [
        f"{name}: {describe_form(tensors[name])} in the checkpoint, {describe_form(variable)} in the model"
        for name, variable in variables.items()
        if name in tensors and not _fits(tensors[name], variable)
    ]
    problems = [
        f"{len(names)} {phrase} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for names, phrase in (
            (missing, "are in the model and not in the checkpoint"),
            (unknown, "are in the checkpoint and not in the model"),
            (wrong, "differ in shape or type"),
        )
        if names
    ]
    if problems:
        raise StateMismatchError(
            f"The {what} of {where} do not fit the model: of {len(tensors)} in the checkpoint and {len(variables)} in "
            f"the model, {'; '.join(problems)}. Expected the same model, optimizer, metrics and precision as when it "
            f"was written. Build and compile the model as then, or load only its weights with load_model."
        )
    return [(variable, tensors[name]) for name, variable in variables.items()]


def describe_form(value: Any) -> str:
    """The type and shape of an array or a variable, such as ``float32[3, 4]``."""
    return f"{_dtype(value)}{list(value.shape)}"


def _fits(value: np.ndarray, variable: Any) -> bool:
    if _dtype(value) != _dtype(variable) or value.ndim != len(variable.shape):
        return False
    # A variable of tf_keras may have axes of any length, whose length in its shape is None.
    return all(length in (None, own) for length, own in zip(variable.shape, value.shape, strict=True))


def _dtype(value: Any) -> str:
    return str(getattr(value.dtype, "name", value.dtype))
