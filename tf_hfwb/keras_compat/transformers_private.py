"""Private names of transformers, each with its purpose; see ``private_names.py``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.keras_compat.private_names import looks_up

_looks_up = looks_up("transformers")

_MASKED_SOFTMAXES = (
    ("transformers.models.deberta.modeling_tf_deberta", "TFDebertaXSoftmax"),
    ("transformers.models.deberta_v2.modeling_tf_deberta_v2", "TFDebertaV2XSoftmax"),
)


def auto_class(model: Any) -> Any:
    """The Auto class with which a model's own code was registered, to be saved with it (``_auto_class``)."""
    return getattr(model, "_auto_class", None)


def trains_with_own_loss(model: Any) -> bool:
    """Whether a model is compiled to train with the loss that it computes itself (``_using_dummy_loss``)."""
    return bool(getattr(model, "_using_dummy_loss", False))


def methods_with_infinities(layer: Any) -> list[str]:
    """The methods of a layer that compute infinities and leave them out of what they return.

    T5, MPNet and LayoutLMv3 take the logarithm of a distance of 0 (``_relative_position_bucket``); DeBERTa masks its
    softmax with -inf, and draws what it drops out (``xdropout``) by a logarithm of 0.
    """
    names = ["_relative_position_bucket", "relative_position_bucket", "xdropout"]
    softmaxes = [getattr(sys.modules.get(module), name, None) for module, name in _MASKED_SOFTMAXES]
    if isinstance(layer, tuple(kind for kind in softmaxes if kind is not None)):
        names.append("call")
    return [name for name in names if callable(getattr(layer, name, None))]


@_looks_up
def name_in_files() -> Callable[[str], str]:
    """The function that gives the name of a weight in a file of weights, from the name of its variable."""
    from transformers.modeling_tf_utils import strip_model_name_and_prefix

    return strip_model_name_and_prefix


# -- Auto classes ------------------------------------------------------------------------------------------------------


@_looks_up
def classes_by_config(auto_class: type[Any]) -> Mapping[type, Any]:
    """The classes that an Auto class stands for, by the class of the configuration; several are a tuple."""
    return auto_class._model_mapping


@_looks_up
def choose_class() -> Callable[[Any, Mapping[type, Any]], type[Any]]:
    """The function that finds the class for a configuration among these; of several, that which the weights are of."""
    from transformers.models.auto.auto_factory import _get_model_class

    return _get_model_class


@_looks_up
def class_names(task: str) -> set[str]:
    """The names of all classes for a task, such as ``MODEL_FOR_MASKED_LM``.

    The classes themselves are public (``TF_MODEL_FOR_MASKED_LM_MAPPING``), but looking them up imports every model.
    """
    from transformers.models.auto import modeling_tf_auto

    names: set[str] = set()
    for group in getattr(modeling_tf_auto, f"TF_{task}_MAPPING_NAMES").values():
        names.update([group] if isinstance(group, str) else group)
    return names


# -- files of the hub --------------------------------------------------------------------------------------------------


def at_commit_of(config: Any) -> dict[str, Any]:
    """The options of ``cached_file`` for files of the commit that a configuration came from (``_commit_hash``).

    All files are then of one version, and no request is made for those in the cache. The public option makes one for
    each file that is not there.
    """
    commit = getattr(config, "_commit_hash", None)
    if _has_options("_commit_hash"):
        return {"_commit_hash": commit}
    return {} if commit is None else {"revision": commit}


@_looks_up
def without_errors() -> dict[str, bool]:
    """The options of ``cached_file`` with which a file that is not there is None, and not an error."""
    options = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_gated_repo": False}
    if not _has_options(*options):
        raise AttributeError(f"cached_file has no {' and '.join(options)}")
    return options


@_looks_up
def _has_options(*names: str) -> bool:
    """Whether these can be passed to ``cached_file``, which hands them on and drops in silence what is unknown."""
    from transformers.utils.hub import cached_files

    return set(names) <= set(inspect.signature(cached_files).parameters)
