"""What the configuration of a model may name in each Keras: its classes and functions, and what is registered."""

from __future__ import annotations

import functools
import importlib
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tf_hfwb.keras_compat import keras3_private, tf_keras_private
from tf_hfwb.keras_compat.tensorflow_private import is_dispatched

# Classes that are refused: what they do is not in the configuration, but in a file or program that comes with it.
_PROGRAMS = ("TFSMLayer", "TensorFlowOpLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")

# Functions in these modules work on tensors, except those that deal with configurations.
_OF_FUNCTIONS = ("activations", "losses", "metrics", "ops", "random", "backend")
_OF_CONFIGURATIONS = ("get", "serialize", "deserialize")

# Where Keras looks for a function that the configuration names without a module.
_BUILTIN = ("activations", "constraints", "initializers", "losses", "metrics", "optimizers", "regularizers")

# Where our own optimizers are registered; importing them imports Keras.
_OPTIMIZERS = {
    "keras": "tf_hfwb.keras_compat.optimizers.keras3_optimizer",
    "tf_keras": "tf_hfwb.keras_compat.optimizers.tf_keras_optimizer",
}

TRANSFORMERS_MODULE = re.compile(r"transformers\.models\.\w+\.modeling_tf_\w+")


def registered_objects(keras: str) -> Mapping[str, Any]:
    """What users and libraries have registered, our own optimizers among it, and what is in the open scopes."""
    importlib.import_module(_OPTIMIZERS[keras])
    return dict(importlib.import_module(keras).saving.get_custom_objects()) | dict(_in_scope(keras))


def _in_scope(keras: str) -> Mapping[str, Any]:
    if keras == "keras":
        return keras3_private.custom_objects_in_scope()
    return tf_keras_private.custom_objects_in_scope()


@functools.cache
def public_names(keras: str) -> dict[str, Any]:
    """Everything that a Keras exports, by full name."""
    found: dict[str, Any] = {}
    modules = [("keras", importlib.import_module(keras))]
    seen = set()
    while modules:
        prefix, module = modules.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        for name, value in list(vars(module).items()):
            if name.startswith("_") or name == "src":
                continue
            if not isinstance(value, types.ModuleType):
                found[f"{prefix}.{name}"] = value
            elif value.__name__.partition(".")[0] == keras:
                modules.append((f"{prefix}.{name}", value))
    return found


@functools.cache
def classes_of(keras: str) -> dict[str, type]:
    """The classes of a model's parts, by their names in configurations.

    They are the public classes that can be made from a configuration, and their relatives inside Keras.
    """
    found = {name: value for name, value in public_names(keras).items() if isinstance(value, type)}
    found = {name: value for name, value in found.items() if hasattr(value, "from_config")}
    families = {base for part in found.values() for base in part.__mro__ if is_of_keras(base)}
    for part in _subclasses(families):
        if not (is_of_keras(part) and hasattr(part, "from_config")):
            continue
        if vars(sys.modules[part.__module__]).get(part.__name__) is part:
            found[f"{part.__module__.removeprefix('tf_')}.{part.__name__}"] = part
    if keras == "tf_keras":
        from tf_keras import mixed_precision

        # It instantiates two other classes, which configurations do not name.
        found["keras.mixed_precision.LossScaleOptimizer"] = mixed_precision.LossScaleOptimizer
    return {name: part for name, part in found.items() if name.rpartition(".")[2] not in _PROGRAMS}


def _subclasses(classes: Iterable[type]) -> Iterator[type]:
    rest, seen = list(classes), set()
    while rest:
        one = rest.pop()
        if one not in seen:
            seen.add(one)
            rest += type.__subclasses__(one)
            yield one


@functools.cache
def classes_by_name(keras: str) -> dict[str, type]:
    """The same classes by their names alone, as configurations had them before Keras 2.12."""
    found = {name.rpartition(".")[2]: part for name, part in classes_of(keras).items()}
    return found | {name.lower(): part for name, part in found.items() if ".optimizers." in part.__module__}


@functools.cache
def functions_of(keras: str) -> frozenset[str]:
    """Keras's functions on tensors, by their names in configurations."""
    return frozenset(
        name
        for name, value in public_names(keras).items()
        if callable(value)
        and not isinstance(value, type)
        and name.split(".")[1] in _OF_FUNCTIONS
        and name.rpartition(".")[2] not in _OF_CONFIGURATIONS
        and (name.split(".")[1] != "backend" or is_dispatched(value))
    )


@functools.cache
def builtin_functions(keras: str) -> frozenset[str]:
    """The names alone of functions that Keras finds without a module."""
    return frozenset(name.rpartition(".")[2] for name in functions_of(keras) if name.split(".")[1] in _BUILTIN)


def is_of_keras(part: Any) -> bool:
    """Whether a class or function was written by either Keras."""
    return str(getattr(part, "__module__", "")).partition(".")[0] in ("keras", "tf_keras")


def transformers_layer(module: str, name: str) -> Any:
    """The layer of that name in a module of transformers; importing it runs only code of transformers."""
    import tf_keras

    try:
        found = vars(importlib.import_module(module)).get(name)
    except ImportError:
        return None
    is_layer = isinstance(found, type) and issubclass(found, tf_keras.layers.Layer) and found.__module__ == module
    return found if is_layer else None


def transformers_classes(config: Any) -> dict[str, Any]:
    """The TF classes of transformers that a configuration of tf_keras names, by name.

    tf_keras does not find those of layers within a model by itself.
    """
    found: dict[str, Any] = {}
    rest = [config]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            name, module = value.get("class_name"), value.get("module")
            if isinstance(name, str) and isinstance(module, str) and TRANSFORMERS_MODULE.fullmatch(module):
                found[name] = transformers_layer(module, name)
            rest += value.values()
        elif isinstance(value, list):
            rest += value
    return {name: part for name, part in found.items() if part is not None}
