"""Functions of TensorFlow that tf_keras may make layers of when it loads a model: those on tensors, and no others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tf_hfwb.keras_compat import tensorflow_private, tf_keras_private
from tf_hfwb.keras_compat.tensorflow_private import is_dispatched

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


def is_operation(name: Any) -> bool:
    """Whether it names one of TensorFlow's functions on tensors, which does not read, write, print or call Python."""
    import tensorflow as tf

    if not isinstance(name, str):
        return False
    at_the_top = _AT_THE_TOP.fullmatch(name)
    if at_the_top:
        # TensorFlow itself exports fewer names at the top than its library of operations has there.
        if not hasattr(tf, at_the_top[2]) or at_the_top[2] in _NO_OPERATIONS:
            return False
    elif not (_OF_OPERATIONS.fullmatch(name) or _OF_INPUT.fullmatch(name)):
        return False
    return is_dispatched(tensorflow_private.symbol_lookup()(name))


def is_attribute(name: Any) -> bool:
    """Whether it names an attribute that symbolic ragged and sparse tensors look up later, in the values."""
    if not isinstance(name, str) or name.startswith("_"):
        return False
    symbolic, kinds = tf_keras_private.symbolic_tensor_classes()
    return any(name in vars(kind) and name not in vars(symbolic) for kind in kinds)


def is_method_of_class(config: Mapping[str, Any]) -> bool:
    """Whether the configuration of a tf_keras layer names a class method that makes a ragged tensor."""
    name = config.get("method_name")
    return config.get("cls_symbol") == "RaggedTensor" and isinstance(name, str) and name.startswith("from_")
