"""Which weights decay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tf_hfwb.keras_compat import Host, is_of_transformers

_IN_PYTORCH = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")
# With layers of normalisation that Keras does not know, such as those of KerasHub.
_IN_KERAS = re.compile(
    r"bias|layer_?norm|rms_?norm|(?:^|/)norm(?:$|/)|_norm(?:$|/)|(?:^|/)(?:gamma|beta|scale)$", re.IGNORECASE
)
_NORMALISATIONS = ("LayerNormalization", "BatchNormalization", "GroupNormalization", "RMSNormalization")


def decaying(host: Host, variables: Sequence[Any]) -> list[bool]:
    """Whether each of some trained variables decays: biases and weights of normalisation layers do not.

    Of a model of transformers it is decided as for its counterpart in PyTorch, where batch normalisation decays.

    Args:
        host: The model.
        variables: Its trained variables; of others only the names count.

    Follows ``Trainer.get_decay_parameter_names`` of transformers.
    """
    is_counterpart = is_of_transformers(host.model)
    kinds = _NORMALISATIONS[:1] if is_counterpart else _NORMALISATIONS
    layers = tuple(getattr(host.keras.layers, kind) for kind in kinds if hasattr(host.keras.layers, kind))
    exempt = {id(weight) for layer in host.layers() if isinstance(layer, layers) for weight in layer.trainable_weights}
    is_exempt_by_name = _is_exempt_in_pytorch if is_counterpart else _is_exempt_in_keras
    return [id(variable) not in exempt and not is_exempt_by_name(host.model, variable) for variable in variables]


def _is_exempt_in_pytorch(model: Any, variable: Any) -> bool:
    from transformers.modeling_tf_pytorch_utils import convert_tf_weight_name_to_pt_weight_name

    name = convert_tf_weight_name_to_pt_weight_name(variable.name, tf_weight_shape=variable.shape)[0]
    if hasattr(model, "tf_to_pt_weight_rename"):
        name = model.tf_to_pt_weight_rename(name)[0]
    return _IN_PYTORCH.search(name.lower()) is not None


def _is_exempt_in_keras(model: Any, variable: Any) -> bool:
    name = getattr(variable, "path", None) or variable.name
    return _IN_KERAS.search(name.partition(":")[0]) is not None
