"""Checks before the first step that data fits the model, with better messages than TensorFlow's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.input_length import longest_input
from tf_hfwb.errors import DataError
from tf_hfwb.keras_compat import is_of_transformers, trains_with_own_loss

Array = npt.NDArray[Any]


def check_width(model: Any, name: str, width: int) -> None:
    """Refuse texts that are longer than a model of transformers has positions for.

    Args:
        model: The model; one that has no weights yet does not tell.
        name: The column.
        width: The most tokens of a row.

    Raises:
        DataError: They are too long.
    """
    if name not in ("input_ids", "decoder_input_ids") or not (is_of_transformers(model) and model.built):
        return
    # With relative positions max_position_embeddings is not a limit.
    has_positions = any(
        ("position" in weight.name or "/wpe/" in weight.name)
        and weight.shape.rank == 2
        and weight.shape[0] >= (getattr(model.config, "max_position_embeddings", None) or np.inf)
        for weight in model.weights
    )
    longest = longest_input(model, None) if has_positions else None
    if longest is not None and width > longest:
        raise DataError(
            f"Column {name!r} has rows of up to {width} tokens, and {type(model).__name__} has positions for {longest}."
            f" Expected no longer ones. Cut them: tokenizer(texts, truncation=True, max_length={longest})."
        )


def check_classes(model: Any, name: str, labels: Array) -> None:
    """Refuse labels that the loss of the model cannot take for classes.

    Args:
        model: The model. The loss of one that is not compiled is not known yet.
        name: What to call the labels.
        labels: All of them, or of rows of unequal length the flat values.

    Raises:
        DataError: A label is beyond the model's classes, or the labels are not classes.
    """
    found = _classes_of(model)
    if found is None or labels.size == 0 or labels.dtype.kind not in "biuf":
        return
    classes, rank, ignored, advice = found
    kind = type(model).__name__
    if rank is not None and labels.ndim == rank + 1 and labels.shape[-1] == classes > 1:
        raise DataError(
            f"Labels {name!r} have the shape {list(labels.shape)}: one-hot, or several labels for each sample. "
            f"Expected one class as an integer, as the loss of {kind} takes it. Take labels.argmax(-1) of one-hot "
            f"ones; for several labels compile the model with loss=BinaryCrossentropy(from_logits=True) first."
        )
    if labels.dtype.kind == "f" and bool((labels != np.round(labels)).any()):
        raise DataError(
            f"Labels {name!r} are fractions, such as {labels[labels != np.round(labels)].flat[0]:.4g}. Expected "
            f"classes from 0 to {classes - 1} for {kind}. Encode them; for a regression load the "
            f"model with num_labels=1."
        )
    kept = labels[~np.isin(labels, ignored)]
    if kept.size and (kept.min() < 0 or kept.max() >= classes):
        raise DataError(
            f"Labels {name!r} go from {int(kept.min())} to {int(kept.max())}, and {kind} has the classes 0 to "
            f"{classes - 1}. Expected each label among these. {advice}"
        )


def _classes_of(model: Any) -> tuple[int, int | None, tuple[int, ...], str] | None:
    """The number of classes that a loss chooses from, the axes of its labels, and labels that it leaves out."""
    if is_of_transformers(model):
        if not trains_with_own_loss(model):  # It has another loss, or is not compiled.
            return None
        from transformers import modeling_tf_utils as losses

        advice = "Count from 0, with dataset.class_encode_column for example, or load the model with more num_labels."
        if isinstance(model, losses.TFSequenceClassificationLoss):
            return (model.config.num_labels, 1, (), advice) if model.config.num_labels > 1 else None
        if isinstance(model, losses.TFTokenClassificationLoss):
            return model.config.num_labels, None, (-100, -1), advice
        if isinstance(model, losses.TFCausalLanguageModelingLoss):  # The loss of masked words is a subclass.
            advice = "Use the model's own tokenizer, or call model.resize_token_embeddings(len(tokenizer))."
            return model.config.vocab_size, None, (-100,), advice
        return None
    shape, loss = getattr(model, "output_shape", None), getattr(model, "loss", None)
    names = {"sparse_categorical_crossentropy", "SparseCategoricalCrossentropy"}
    is_sparse = (loss if isinstance(loss, str) else type(loss).__name__) in names
    if not (is_sparse and isinstance(shape, tuple) and shape and isinstance(shape[-1], int)):
        return None
    config: dict[str, Any] = {} if isinstance(loss, str) else getattr(loss, "get_config", dict)()
    ignored = config.get("ignore_class")
    advice = "Count from 0, or give the last layer as many units as there are classes."
    return shape[-1], len(shape) - 1, () if ignored is None else (ignored,), advice


def check_arrays(model: Any, data: Any, is_for_loss: bool = True) -> None:
    """Check arrays ``(x, y)`` as :func:`check_width` and :func:`check_classes` do.

    Args:
        model: The model.
        data: The arrays.
        is_for_loss: Whether the labels must be what the model's loss takes.

    Raises:
        DataError: They do not fit.
    """
    if not isinstance(data, tuple):
        return
    if isinstance(data[0], Mapping):
        for name, values in data[0].items():
            # An input may also be a structure of arrays, which holds no token ids.
            if not isinstance(values, (Mapping, list, tuple)) and len(values.shape) == 2:
                check_width(model, name, int(values.shape[1]))
    if is_for_loss and len(data) > 1 and not isinstance(data[1], (Mapping, tuple)):
        check_classes(model, "y", np.asarray(data[1]))
