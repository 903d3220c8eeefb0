"""What can be asked of a model of transformers: is it one, and does it compute its loss itself."""

from __future__ import annotations

import inspect
import sys
from typing import Any


def is_of_transformers(model: Any) -> bool:
    """Whether it is a TF model of transformers, or of a subclass: with a head or without, with a loss or without."""
    # Only a model of transformers has this module imported, and importing it takes seconds.
    library = sys.modules.get("transformers.modeling_tf_utils")
    return library is not None and isinstance(model, library.TFPreTrainedModel)


def is_of_own_class(model: Any) -> bool:
    """Whether it is a TF model of transformers and of no subclass, which may have more in it."""
    return is_of_transformers(model) and type(model).__module__.startswith("transformers.")


def is_model_class(found: Any) -> bool:
    """Whether it is a class of TF models of transformers, and not the base of them all."""
    from transformers import TFPreTrainedModel

    return isinstance(found, type) and issubclass(found, TFPreTrainedModel) and found is not TFPreTrainedModel


def is_auto_class(found: Any) -> bool:
    """Whether it is one of the ``TFAutoModel...`` classes of transformers, or a subclass of one."""
    import transformers

    auto_classes = tuple(getattr(transformers, name) for name in dir(transformers) if name.startswith("TFAuto"))
    return isinstance(found, type) and issubclass(found, auto_classes)


def computes_loss(model: Any) -> bool:
    """Whether it is a model of transformers that computes its loss itself: from labels, or without, as CLIP does.

    Base models without a head do not, and some heads have no loss in TensorFlow, as ELECTRA's for pretraining.
    """
    if not is_of_transformers(model):
        return False
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
