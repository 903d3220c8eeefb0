"""A batch of inputs as ``generate`` takes them: with a mask, and padded to a given shape."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.errors import DataError

Array = npt.NDArray[Any]


def select_inputs(model: Any, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs that a model generates from, as arrays.

    Those of its decoder, which are made of labels, and positions, which follow from the mask, are left out.

    Raises:
        DataError: The model's main input is not among them.
    """
    arguments = inspect.signature(model.call).parameters
    selected = {
        name: np.asarray(value)
        for name, value in inputs.items()
        if name in arguments and name not in ("labels", "position_ids") and not name.startswith("decoder_")
    }
    if model.main_input_name not in selected:
        raise DataError(
            f"The inputs {sorted(inputs)} hold no {model.main_input_name!r}, from which "
            f"{type(model).__name__} generates. Expected it among them. Check the columns of the data set."
        )
    # All integers are int32, so that their type does not make another compiled function.
    return {name: value.astype(np.int32) if value.dtype.kind in "biu" else value for name, value in selected.items()}


def add_mask(arrays: Mapping[str, Array], config: Any) -> dict[str, Array]:
    """The arrays with an ``attention_mask``, which leaves padding out as transformers does.

    Args:
        arrays: With ``input_ids`` among them.
        config: The generation config.
    """
    ids = arrays["input_ids"]
    mask = arrays.get("attention_mask")
    if mask is None:
        end, pad = config.eos_token_id, config.pad_token_id
        ends = end if isinstance(end, list) else [end]
        # A token that also ends texts does not tell padding from text.
        mask = np.ones_like(ids) if pad in ends else (ids != pad).astype(ids.dtype)
    return {**arrays, "attention_mask": mask}


def align_right(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Move the tokens to the right end, where a decoder-only model continues, and drop columns without tokens."""
    ids, is_token = arrays["input_ids"], arrays["attention_mask"] != 0
    order = np.argsort(is_token, axis=1, kind="stable")
    num_empty = ids.shape[1] - max(1, int(is_token.sum(axis=1).max()))
    return {
        name: np.take_along_axis(value, order, axis=1)[:, num_empty:] if value.shape == ids.shape else value
        for name, value in arrays.items()
    }


def pad_batch(arrays: Mapping[str, Array], width: int, batch_size: int, *, on_left: bool) -> dict[str, Array]:
    """The arrays with prompts of that width, and with that many rows: the first one is repeated.

    Args:
        arrays: The inputs of a batch.
        width: The width of arrays that have a value for each token.
        batch_size: The number of rows.
        on_left: Whether to pad in front of the tokens.
    """
    shape = arrays["input_ids"].shape if "input_ids" in arrays else None
    padded = {}
    for name, value in arrays.items():
        rows = np.concatenate([value, np.repeat(value[:1], batch_size - len(value), axis=0)])
        if shape is not None and value.shape == shape:
            missing = width - shape[1]
            columns = [(0, 0), (missing, 0) if on_left else (0, missing)]
            # By a token that is there already: a penalty for repetitions looks at the whole prompt.
            rows = np.pad(rows, columns, mode="edge") if name == "input_ids" else np.pad(rows, columns)
        padded[name] = rows
    return padded
