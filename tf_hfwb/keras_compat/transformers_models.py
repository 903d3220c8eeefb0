"""What can be asked of a model of transformers: is it one, and does it compute its loss itself."""

from __future__ import annotations

import inspect
import sys
from typing import Any


def is_of_transformers(model: Any) -> bool:
    """Whether it is a TF model of transformers, or of a subclass: with a head or without, with a loss or without."""
    # Only a model of transformers can have imported this module, and importing it takes seconds.
    library = sys.modules.get("transformers.modeling_tf_utils")
    return library is not None and isinstance(model, library.TFPreTrainedModel)


def computes_loss(model: Any) -> bool:
    """Whether a model of transformers computes its loss itself: from labels, or without any, as CLIP does.

    Base models without a head do not, and some heads have no loss in TensorFlow, as ELECTRA's for pretraining.
    """
    # A subclass may have a call(*args, **kwargs), which does not tell.
    return bool(label_arguments(model)) or can_return_loss(model) or hasattr(model, "hf_compute_loss")


def call_arguments(model: Any) -> list[str]:
    """The names of the arguments of a model's ``call``."""
    return list(inspect.signature(model.call).parameters)


def label_arguments(model: Any) -> list[str]:
    """The arguments of a model of transformers that take labels."""
    from transformers.utils import find_labels

    # SAM's input_labels say what the points of a prompt mean: they are inputs.
    return [name for name in find_labels(type(model)) if not name.startswith("input_")]


def can_return_loss(model: Any) -> bool:
    """Whether the model has a loss without labels."""
    return "return_loss" in call_arguments(model)
