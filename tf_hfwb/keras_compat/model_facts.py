"""What a run's configuration tells of a model: its class and size, its optimizer, and the versions of the libraries."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
from typing import Any

from tf_hfwb.keras_compat.scalar_values import to_float
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
