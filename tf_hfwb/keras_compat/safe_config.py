"""What the configuration of a plain Keras model may name, when somebody else wrote it.

A configuration names the classes and functions that Keras makes the model of. tf_keras imports whatever it names, so
that ``os.system`` can be a layer's function. Keras 3 takes any function that it exports itself. Both run Python
bytecode when they are told to, and have layers that read a file or run a TensorFlow program.

So a configuration is looked through before any Keras sees it. Everything that it names, at any depth, must be one of

* Keras's layers, losses, metrics, optimizers and the like, and functions on tensors;
* what is registered with Keras, or given as ``custom_objects``: it is there since the user imported it;
* transformers' TF models and layers, which bring no code of their own.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tf_hfwb.errors import UnsafeModelError
from tf_hfwb.keras_compat import keras3_private, tensorflow_private, tf_keras_private
from tf_hfwb.keras_compat.tensorflow_private import is_dispatched

# Classes that are refused: what they do is not in the configuration, but in a file or a program that it brings along.
_PROGRAMS = ("TFSMLayer", "TensorFlowOpLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")

# Values that Keras writes as if they were objects. What the other one writes would be a class to tf_keras.
_VALUES = {
    "tf_keras": ("__tensor__", "__numpy__", "__bytes__"),
    "keras": ("__tensor__", "__numpy__", "__bytes__", "__keras_tensor__", "__ellipsis__", "__slice__"),
}

# Functions in these are on tensors, but for those that deal with configurations.
_OF_FUNCTIONS = ("activations", "losses", "metrics", "ops", "random", "backend")
_OF_CONFIGURATIONS = ("get", "serialize", "deserialize")

# Where Keras looks for a function of which the configuration has only the name.
_BUILTIN = ("activations", "constraints", "initializers", "losses", "metrics", "optimizers", "regularizers")

_OF_TRANSFORMERS = re.compile(r"transformers\.models\.\w+\.modeling_tf_\w+")


def check_config(config: Any, keras: str, custom_objects: Mapping[str, Any] | None, source: str) -> None:
    """Refuse a configuration that names anything but what may be in a model; nothing is imported for that.

    Args:
        config: What ``config.json`` holds.
        keras: Which Keras will make the model: ``"keras"`` or ``"tf_keras"``.
        custom_objects: Further names, as the user gave them.
        source: Where the configuration comes from, for messages.

    Raises:
        UnsafeModelError: It names something else.
    """
    names = _Names(keras, custom_objects or {})
    places: list[tuple[str, Any]] = [("", config)]
    while places:  # No recursion: the depth is the file's choice.
        place, value = places.pop()
        if isinstance(value, dict):
            refused = names.refused(value)
            if refused is not None:
                raise UnsafeModelError(
                    f"{source} is not loaded: at {place or 'the top'} of its config.json is {refused}. Expected a "
                    "model of Keras's own layers and functions, which runs no code of the file's: classes of your own "
                    "are registered (keras.saving.register_keras_serializable) and imported before, or given as "
                    "load_model(..., custom_objects={'Name': Name}). If you trust whoever made the file, "
                    "load_model(..., safe_mode=False) loads it with whatever it names (tf-hfwb export: --no_safe_mode)."
                )
            places += [(f"{place}.{key}".lstrip("."), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            places += [(f"{place}[{index}]", inner) for index, inner in enumerate(value)]


def transformers_classes(config: Any) -> dict[str, Any]:
    """The TF classes of transformers that a configuration of tf_keras names, by name.

    tf_keras does not look up those of layers within a model by their modules; it has to be given them.
    """
    found: dict[str, Any] = {}
    rest = [config]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            name, module = value.get("class_name"), value.get("module")
            if isinstance(name, str) and isinstance(module, str) and _OF_TRANSFORMERS.fullmatch(module):
                found[name] = _of_transformers(module, name)
            rest += value.values()
        elif isinstance(value, list):
            rest += value
    return {name: part for name, part in found.items() if part is not None}


class _Names:
    """The names that a configuration may have in it."""

    def __init__(self, keras: str, custom_objects: Mapping[str, Any]) -> None:
        self._keras = keras
        self._known = {**_registered(keras), **custom_objects}

    def refused(self, node: Mapping[str, Any]) -> str | None:
        """What cannot be allowed about a part of the configuration, in words; None if there is nothing."""
        name = node.get("class_name")
        if not isinstance(name, str):
            return None  # Data: Keras makes objects of names alone.
        config = node.get("config")
        if name in _VALUES[self._keras]:
            return None
        if name == "__lambda__":
            return "a lambda, whose bytecode would be run"
        if name == "__typespec__":
            return None if self._is_spec(node) else f"a type of tensors, {node.get('module')}.{node.get('spec_name')}"
        if name == "function":
            return self._refused_function(node)
        found = self._class_of(node)
        if found is None:
            return f"the class {self._full(node, name)}, which is none of a model's parts in Keras, nor registered"
        return self._refused_arguments(found, config) if isinstance(config, Mapping) else None

    def _refused_function(self, node: Mapping[str, Any]) -> str | None:
        """What is wrong with a function: Keras looks for it by either of its names."""
        names = {node.get("config"), node.get("registered_name")} - {None, "function"}
        for name in names or {None}:
            if not (isinstance(name, str) and (name in self._known or self._is_function(node.get("module"), name))):
                return f"the function {self._full(node, name)}, which is none of Keras's on tensors, nor registered"
        return None

    def _is_function(self, module: Any, name: str) -> bool:
        if module == "builtins":
            if name in _builtin_functions(self._keras):
                return True
            # Keras 3.6 and before wrote only the last part of a registered name. tf_keras would take Python's own.
            return self._keras == "keras" and any(known.endswith(f">{name}") for known in self._known)
        return isinstance(module, str) and self._written(f"{module}.{name}") in _functions(self._keras)

    def _class_of(self, node: Mapping[str, Any]) -> Any:
        """The class that Keras will make, if it is one that may be made."""
        name, module = node["class_name"], node.get("module")
        if "module" not in node:  # As Keras before 2.12 wrote it.
            return self._known.get(name) or _classes_by_name(self._keras).get(name)
        registered = node.get("registered_name", name)
        if isinstance(registered, str) and registered in self._known:
            return self._known[registered]
        if not isinstance(module, str):
            return None
        there = vars(sys.modules[module]).get(name) if module in sys.modules else None
        if there is not None and any(there is known for known in self._known.values()):
            return there
        if self._keras == "tf_keras" and _OF_TRANSFORMERS.fullmatch(module):
            return _of_transformers(module, name)
        return _classes(self._keras).get(self._written(f"{module}.{name}"))

    @staticmethod
    def _refused_arguments(found: Any, config: Mapping[str, Any]) -> str | None:
        """What is wrong with what a class is made with."""
        if str(getattr(found, "__module__", "")).startswith("transformers.") and _has_key(config, "auto_map"):
            return f"code that comes with a model (auto_map), for {found.__name__} of transformers"
        # A class of the user's makes its arguments what the class of Keras does that it derives from.
        kinds = {base.__name__ for base in getattr(found, "__mro__", ()) if _is_of_keras(base)}
        if kinds & {"Lambda", "_RNNCellWrapper"}:
            for key, value in config.items():
                if value == "lambda" and key.endswith("_type"):
                    return "a function as Python bytecode, which would be run"
        if "TFOpLambda" in kinds and not _is_operation(config.get("function")):
            return f"TensorFlow's function {config.get('function')}, which is none on tensors"
        if "ClassMethod" in kinds and not _is_method_of_class(config):
            method = f"{config.get('cls_symbol')}.{config.get('method_name')}"
            return f"TensorFlow's method {method}, which makes no tensors"
        if "InstanceProperty" in kinds and not _is_attribute(config.get("attr_name")):
            return f"the attribute {config.get('attr_name')} of a tensor, which Keras does not look up"
        if kinds & {"IndexLookup", "TextVectorization"} and isinstance(config.get("vocabulary"), str):
            return f"a vocabulary that is read from a file of this machine, {config['vocabulary']}"
        return None

    def _is_spec(self, node: Mapping[str, Any]) -> bool:
        import tensorflow as tf

        registered = node.get("registered_name")
        if registered is not None:
            return registered in self._known
        specs = {(spec.__module__, spec.__name__) for spec in (tf.TensorSpec, tf.RaggedTensorSpec, tf.SparseTensorSpec)}
        return (node.get("module"), node.get("spec_name")) in specs

    def _written(self, name: str) -> str:
        """The name with which Keras begins the names of its parts; tf_keras has two, and takes the shorter for both."""
        return name.removeprefix("tf_") if self._keras == "tf_keras" and name.startswith("tf_keras.") else name

    @staticmethod
    def _full(node: Mapping[str, Any], name: Any) -> str:
        return ".".join(str(part) for part in (node.get("module"), name) if part is not None)


# -- what there is in each Keras ---------------------------------------------------------------------------------------


def _registered(keras: str) -> Mapping[str, Any]:
    """What users and libraries have registered, and the scopes that are open."""
    return dict(importlib.import_module(keras).saving.get_custom_objects()) | dict(_in_scope(keras))


def _in_scope(keras: str) -> Mapping[str, Any]:
    if keras == "keras":
        return keras3_private.custom_objects_in_scope()
    return tf_keras_private.custom_objects_in_scope()


@functools.cache
def _public(keras: str) -> dict[str, Any]:
    """Everything that a Keras exports, by its full name."""
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
def _classes(keras: str) -> dict[str, type]:
    """A model's parts, by the names that configurations have for them.

    They are the public classes that are made from a configuration, and what is of their families inside Keras.
    """
    found = {name: value for name, value in _public(keras).items() if isinstance(value, type)}
    found = {name: value for name, value in found.items() if hasattr(value, "from_config")}
    families = {base for part in found.values() for base in part.__mro__ if _is_of_keras(base)}
    for part in _subclasses(families):
        if not (_is_of_keras(part) and hasattr(part, "from_config")):
            continue
        if vars(sys.modules[part.__module__]).get(part.__name__) is part:
            found[f"{part.__module__.removeprefix('tf_')}.{part.__name__}"] = part
    if keras == "tf_keras":
        from tf_keras import mixed_precision

        # It makes objects of two other classes, whose names configurations do not have.
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
def _classes_by_name(keras: str) -> dict[str, type]:
    found = {name.rpartition(".")[2]: part for name, part in _classes(keras).items()}
    return found | {name.lower(): part for name, part in found.items() if ".optimizers." in part.__module__}


@functools.cache
def _functions(keras: str) -> frozenset[str]:
    """Keras's functions on tensors, by the names that configurations have for them."""
    return frozenset(
        name
        for name, value in _public(keras).items()
        if callable(value)
        and not isinstance(value, type)
        and name.split(".")[1] in _OF_FUNCTIONS
        and name.rpartition(".")[2] not in _OF_CONFIGURATIONS
        and (name.split(".")[1] != "backend" or is_dispatched(value))
    )


@functools.cache
def _builtin_functions(keras: str) -> frozenset[str]:
    return frozenset(name.rpartition(".")[2] for name in _functions(keras) if name.split(".")[1] in _BUILTIN)


def _has_key(value: Any, key: str) -> bool:
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            if key in one:
                return True
            rest += one.values()
        elif isinstance(one, list):
            rest += one
    return False


def _is_of_keras(part: Any) -> bool:
    return str(getattr(part, "__module__", "")).partition(".")[0] in ("keras", "tf_keras")


def _of_transformers(module: str, name: str) -> Any:
    """A layer of transformers that such a module defines; importing it runs nothing but transformers."""
    import tf_keras

    try:
        found = vars(importlib.import_module(module)).get(name)
    except ImportError:
        return None
    is_layer = isinstance(found, type) and issubclass(found, tf_keras.layers.Layer) and found.__module__ == module
    return found if is_layer else None


# -- TensorFlow's functions, of which tf_keras makes layers ------------------------------------------------------------

_OF_OPERATIONS = re.compile(
    r"(compat\.v1\.)?("
    r"math|math\.special|nn|nn\.experimental|image|linalg|linalg\.experimental|signal|spectral|strings|random"
    r"|random\.experimental|ragged|sparse|sets|bitwise|dtypes|quantization|debugging|manip|audio|__operators__"
    r"|keras\.(activations|backend|losses|metrics)"
    r")\.\w+"
)
_OF_INPUT = re.compile(r"(compat\.v1\.)?io\.(de|en)code_\w+|(compat\.v1\.)?io\.(de)?serialize_\w+|io\.parse_\w+")
_AT_THE_TOP = re.compile(r"(compat\.v1\.)?(\w+)")
_NO_OPERATIONS = ("print", "py_function", "numpy_function")


def _is_operation(name: Any) -> bool:
    """Whether it names one of TensorFlow's functions on tensors: none that reads, writes, prints or calls Python."""
    import tensorflow as tf

    if not isinstance(name, str):
        return False
    at_the_top = _AT_THE_TOP.fullmatch(name)
    if at_the_top:
        # Of TensorFlow's own names, which are less than those that its library of operations has at the top.
        if not hasattr(tf, at_the_top[2]) or at_the_top[2] in _NO_OPERATIONS:
            return False
    elif not (_OF_OPERATIONS.fullmatch(name) or _OF_INPUT.fullmatch(name)):
        return False
    return is_dispatched(tensorflow_private.symbol_lookup()(name))


def _is_attribute(name: Any) -> bool:
    """Whether it is one that symbolic ragged and sparse tensors look up later, in the values."""
    if not isinstance(name, str) or name.startswith("_"):
        return False
    symbolic, kinds = tf_keras_private.symbolic_tensor_classes()
    return any(name in vars(kind) and name not in vars(symbolic) for kind in kinds)


def _is_method_of_class(config: Mapping[str, Any]) -> bool:
    name = config.get("method_name")
    return config.get("cls_symbol") == "RaggedTensor" and isinstance(name, str) and name.startswith("from_")
