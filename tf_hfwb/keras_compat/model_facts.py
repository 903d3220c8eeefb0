"""What a run's configuration tells of a model: its class and size, its optimizer, and the versions of the libraries."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import pathlib
import sys
from typing import Any

from tf_hfwb.keras_compat.scalar_values import to_float
from tf_hfwb.keras_compat.training_variables import plain_name
from tf_hfwb.keras_compat.transformers_models import is_of_transformers


def facts_of(model: Any, optimizer_config: Any) -> dict[str, Any]:
    """The facts, as numbers, words, lists and dicts.

    Args:
        model: The model.
        optimizer_config: The configuration of its optimizer; None without one.
    """
    facts: dict[str, Any] = {}
    if is_of_transformers(model):
        facts |= model.config.to_dict()
    facts["model/class"] = type(model).__name__
    if model.built:
        facts["model/num_parameters"] = int(model.count_params())
    if optimizer_config is not None:
        facts["optimizer"] = _plain(optimizer_config)
    return facts | _versions()


def identity_of(model: Any, optimizer_config: Any) -> dict[str, Any]:
    """What tells whether two processes train the same model by the same script; arguments as in :func:`facts_of`.

    Example:
        >>> import keras
        >>> one, other = (keras.Sequential([keras.Input((3,)), keras.layers.Dense(size)]) for size in (4, 5))
        >>> identity_of(one, None)["model/weights"] == identity_of(other, None)["model/weights"]
        False
    """
    weights = "\n".join(f"{plain_name(one)} {tuple(one.shape)} {one.dtype}" for one in model.weights)
    facts = {"model/class": type(model).__name__, "model/weights": _digest(weights.encode()), **_versions()}
    if optimizer_config is not None:
        facts["optimizer"] = _plain(optimizer_config)
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is not None and os.path.isfile(script):
        facts["the script's SHA-256"] = _digest(pathlib.Path(script).read_bytes())
    return facts


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@functools.cache  # Reading them takes milliseconds.
def _versions() -> dict[str, str]:
    versions = {}
    for package in ("keras", "tf_keras", "tensorflow", "transformers"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[f"versions/{package}"] = importlib.metadata.version(package)
    return versions


def _plain(value: Any) -> Any:
    """What W&B can show: numbers, words, lists and dicts."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "get_config"):
        return {"class_name": type(value).__name__, "config": _plain(value.get_config())}
    plain = to_float(value) if not callable(value) else None
    return plain if plain is not None else str(value)
