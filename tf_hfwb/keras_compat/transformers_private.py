"""Private names of transformers, each with its purpose; see ``private_names.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf_hfwb.keras_compat.private_names import looks_up

_looks_up = looks_up("transformers")


def auto_class(model: Any) -> Any:
    """The Auto class with which a model's own code was registered, to be saved with it (``_auto_class``)."""
    return getattr(model, "_auto_class", None)


def trains_with_own_loss(model: Any) -> bool:
    """Whether a model is compiled to train with the loss that it computes itself (``_using_dummy_loss``)."""
    return bool(getattr(model, "_using_dummy_loss", False))


@_looks_up
def name_in_files() -> Callable[[str], str]:
    """The function that gives the name of a weight in a file of weights, from the name of its variable."""
    from transformers.modeling_tf_utils import strip_model_name_and_prefix

    return strip_model_name_and_prefix
