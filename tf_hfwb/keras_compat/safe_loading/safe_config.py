"""What the configuration of a plain Keras model may name, when somebody else wrote it.

A configuration names the classes and functions that Keras makes the model of. tf_keras imports whatever it names, so
that ``os.system`` can be a layer's function. Keras 3 takes any function that it exports itself. Both run Python
bytecode when they are told to, and have layers that read a file or run a TensorFlow program.

So a configuration is checked before any Keras sees it. Everything that it names, at any depth, must be one of

* Keras's layers, losses, metrics, optimizers and the like, and functions on tensors;
* what is registered with Keras, or given as ``custom_objects``: the user has imported it;
* transformers' TF models and layers, which bring no code of their own.

``keras_parts.py`` and ``tensorflow_operations.py`` list them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tf_hfwb.errors import UnsafeModelError
from tf_hfwb.keras_compat.safe_loading.allowed_names import (
    TRANSFORMERS_MODULE,
    builtin_functions,
    classes_by_name,
    classes_of,
    functions_of,
    is_of_keras,
    registered_objects,
    transformers_layer,
)
from tf_hfwb.keras_compat.safe_loading.tensorflow_operations import is_attribute, is_method_of_class, is_operation

# Values that Keras writes as if they were objects. What the other one writes would be a class to tf_keras.
_VALUES = {
    "tf_keras": ("__tensor__", "__numpy__", "__bytes__"),
    "keras": ("__tensor__", "__numpy__", "__bytes__", "__keras_tensor__", "__ellipsis__", "__slice__"),
}


def check_config(config: Any, keras: str, custom_objects: Mapping[str, Any] | None, source: str) -> None:
    """Refuse a configuration that names anything else than parts of a model, without importing what it names.

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
            refused = names.find_refused(value)
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


class _Names:
    """The names that a configuration may contain."""

    def __init__(self, keras: str, custom_objects: Mapping[str, Any]) -> None:
        self._keras = keras
        self._known = {**registered_objects(keras), **custom_objects}

    def find_refused(self, node: Mapping[str, Any]) -> str | None:
        """What is not allowed in a part of the configuration, in words; None if everything is."""
        name = node.get("class_name")
        if not isinstance(name, str):
            return None  # Only data: Keras makes no object without a name.
        config = node.get("config")
        if name in _VALUES[self._keras]:
            return None
        if name == "__lambda__":
            return "a lambda, whose bytecode would be run"
        if name == "__typespec__":
            return None if self._is_spec(node) else f"a type of tensors, {node.get('module')}.{node.get('spec_name')}"
        if name == "function":
            return self._find_refused_function(node)
        found = self._class_of(node)
        if found is None:
            return f"the class {self._full_name(node, name)}, which is none of a model's parts in Keras, nor registered"
        return self._find_refused_arguments(found, config) if isinstance(config, Mapping) else None

    def _find_refused_function(self, node: Mapping[str, Any]) -> str | None:
        """What is wrong with a function, which Keras may look up by either of its names."""
        names = {node.get("config"), node.get("registered_name")} - {None, "function"}
        for name in names or {None}:
            if not (isinstance(name, str) and (name in self._known or self._is_function(node.get("module"), name))):
                return (
                    f"the function {self._full_name(node, name)}, which is none of Keras's on tensors, nor registered"
                )
        return None

    def _is_function(self, module: Any, name: str) -> bool:
        if module == "builtins":
            if name in builtin_functions(self._keras):
                return True
            # Up to 3.6, Keras 3 wrote only the last part of a registered name. tf_keras would take Python's builtin.
            return self._keras == "keras" and any(known.endswith(f">{name}") for known in self._known)
        return isinstance(module, str) and self._name_in_keras(f"{module}.{name}") in functions_of(self._keras)

    def _class_of(self, node: Mapping[str, Any]) -> Any:
        """The class that Keras will instantiate, if that is allowed."""
        name, module = node["class_name"], node.get("module")
        if "module" not in node:  # As Keras before 2.12 wrote it.
            return self._known.get(name) or classes_by_name(self._keras).get(name)
        registered = node.get("registered_name", name)
        if isinstance(registered, str) and registered in self._known:
            return self._known[registered]
        if not isinstance(module, str):
            return None
        there = vars(sys.modules[module]).get(name) if module in sys.modules else None
        if there is not None and any(there is known for known in self._known.values()):
            return there
        if self._keras == "tf_keras" and TRANSFORMERS_MODULE.fullmatch(module):
            return transformers_layer(module, name)
        return classes_of(self._keras).get(self._name_in_keras(f"{module}.{name}"))

    @staticmethod
    def _find_refused_arguments(found: Any, config: Mapping[str, Any]) -> str | None:
        """What is wrong with the arguments of a class."""
        if str(getattr(found, "__module__", "")).startswith("transformers.") and _has_key(config, "auto_map"):
            return f"code that comes with a model (auto_map), for {found.__name__} of transformers"
        # A class of the user's treats its arguments as the Keras class that it derives from does.
        kinds = {base.__name__ for base in getattr(found, "__mro__", ()) if is_of_keras(base)}
        if kinds & {"Lambda", "_RNNCellWrapper"}:
            for key, value in config.items():
                if value == "lambda" and key.endswith("_type"):
                    return "a function as Python bytecode, which would be run"
        if "TFOpLambda" in kinds and not is_operation(config.get("function")):
            return f"TensorFlow's function {config.get('function')}, which is none on tensors"
        if "ClassMethod" in kinds and not is_method_of_class(config):
            method = f"{config.get('cls_symbol')}.{config.get('method_name')}"
            return f"TensorFlow's method {method}, which makes no tensors"
        if "InstanceProperty" in kinds and not is_attribute(config.get("attr_name")):
            return f"the attribute {config.get('attr_name')} of a tensor, which Keras does not look up"
        if kinds & {"IndexLookup", "TextVectorization"} and isinstance(config.get("vocabulary"), str):
            return f"a vocabulary that is read from a file of this machine, {config['vocabulary']}"
        file = _file_of_tokenizer(found, config)
        return None if file is None else f"a vocabulary that is read from a file of this machine, {file}"

    def _is_spec(self, node: Mapping[str, Any]) -> bool:
        import tensorflow as tf

        registered = node.get("registered_name")
        if registered is not None:
            return registered in self._known
        specs = {(spec.__module__, spec.__name__) for spec in (tf.TensorSpec, tf.RaggedTensorSpec, tf.SparseTensorSpec)}
        return (node.get("module"), node.get("spec_name")) in specs

    def _name_in_keras(self, name: str) -> str:
        """A full name as Keras writes it; tf_keras writes ``keras`` where its own package is called ``tf_keras``."""
        return name.removeprefix("tf_") if self._keras == "tf_keras" and name.startswith("tf_keras.") else name

    @staticmethod
    def _full_name(node: Mapping[str, Any], name: Any) -> str:
        return ".".join(str(part) for part in (node.get("module"), name) if part is not None)


def _file_of_tokenizer(found: Any, config: Mapping[str, Any]) -> Any:
    """The file that a tokenizer of KerasHub would read besides its own assets."""
    library = sys.modules.get("keras_hub")
    if library is None or not (isinstance(found, type) and issubclass(found, library.tokenizers.Tokenizer)):
        return None
    return next((config[name] for name in ("vocabulary", "merges", "proto") if isinstance(config.get(name), str)), None)


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
