"""Let a model that has its weights already compute in 16 bits, as Keras's mixed precision lets a new one.

Weights stay the same variables in float32, so that optimizers and checkpoints see no difference. The layer that gives
an output keeps float32, as Keras recommends for a softmax and the losses behind it.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tf_hfwb.keras_compat import keras3_private, tf_keras_private
from tf_hfwb.keras_compat.common_private import makers_of_outputs

if TYPE_CHECKING:
    from tf_hfwb.keras_compat.host_base import Host


@dataclass
class _Reduced:
    """A layer that computes in 16 bits, and what it was like before."""

    layer: Any
    policy: Any
    variables: dict[str, Any]  # By the attribute.
    set_policy: Callable[[Any, Any], None]


@dataclass
class _Reduction:
    """What was changed in a model."""

    layers: list[_Reduced]
    loss: Any  # The model's own attribute of that name, if it had one.


_reductions: weakref.WeakKeyDictionary[Any, _Reduction] = weakref.WeakKeyDictionary()
_LOSS = "hf_compute_loss"


def reduce_precision(host: Host, policy: str) -> None:
    """Let all layers that compute in float32 compute by another policy from now on.

    Args:
        host: A model with all of its weights.
        policy: ``"mixed_float16"`` or ``"mixed_bfloat16"``.
    """
    restore_precision(host)
    model, keras = host.model, host.keras
    new_policy = keras.mixed_precision.Policy(policy)
    in_float32 = _output_layers(model)
    set_policy = keras3_private.set_dtype_policy if host.package == "keras" else tf_keras_private.set_dtype_policy
    entries = []
    for layer in _layers(host):
        # Normalization has constants of the type in which it computed when it was adapted.
        is_constant = isinstance(layer, keras.layers.Normalization)
        if layer.dtype_policy.name == "float32" and not is_constant and layer not in in_float32:
            entries.append(_Reduced(layer, layer.dtype_policy, _own_variables(host, layer), set_policy))
            set_policy(layer, new_policy)
    for entry in entries:
        vars(entry.layer).update({name: tf_keras_private.cast_on_read(one) for name, one in entry.variables.items()})
    _reductions[model] = _Reduction(entries, vars(model).get(_LOSS))
    if hasattr(model, _LOSS):
        setattr(model, _LOSS, _in_float32(getattr(model, _LOSS)))
    _forget_traces(model)


def restore_precision(host: Host) -> bool:
    """Let the layers compute as before :func:`reduce_precision`; False if they do so already."""
    model = host.model
    reduction = _reductions.pop(model, None)
    if reduction is None:
        return False
    for entry in reduction.layers:
        entry.set_policy(entry.layer, entry.policy)
        vars(entry.layer).update(entry.variables)
    vars(model).pop(_LOSS, None)
    if reduction.loss is not None:
        setattr(model, _LOSS, reduction.loss)
    _forget_traces(model)
    return True


def multiplies_by_infinity(graph: Any) -> bool:
    """Whether a graph multiplies by a constant that is an infinity, as -1e9 is in float16.

    Infinities that are only chosen or added, as those of many masks, are harmless and do not count.
    """
    import numpy as np
    import tensorflow as tf

    constants = [op for op in graph.get_operations() if op.type == "Const" and op.outputs[0].dtype == tf.float16]
    return any(
        np.isinf(tf.make_ndarray(op.get_attr("value"))).any()
        for op in constants
        if any(consumer.type == "Mul" for consumer in op.outputs[0].consumers())
    )


@contextlib.contextmanager
def show_float32(model: Any) -> Iterator[None]:
    """Let a model describe itself, in the block, as if its precision had not been reduced; nothing may be traced."""
    reduction = _reductions.get(model)
    entries = [] if reduction is None else reduction.layers
    policies = [entry.layer.dtype_policy for entry in entries]
    for entry in entries:
        entry.set_policy(entry.layer, entry.policy)
    try:
        yield
    finally:
        for entry, policy in zip(entries, policies, strict=True):
            entry.set_policy(entry.layer, policy)


def _layers(host: Host) -> list[Any]:
    """The model and all layers in it."""
    if host.package == "keras":
        return keras3_private.all_layers(host.model)
    layer, metric = host.keras.layers.Layer, host.keras.metrics.Metric
    found = [host.model, *host.model.submodules]
    return [one for one in found if isinstance(one, layer) and not isinstance(one, metric)]


def _output_layers(model: Any) -> list[Any]:
    """The layers that give the outputs of a functional model, and in those that are models the same."""
    makers = makers_of_outputs(model)
    return [*makers, *(inner for maker in makers for inner in _output_layers(maker))]


def _own_variables(host: Host, layer: Any) -> dict[str, Any]:
    """The variables that a layer of tf_keras reads in the type in which it computes, by its attributes.

    Those of Keras 3 are always read so.
    """
    layers = host.keras.layers
    if host.package == "keras":
        return {}
    # These cast what they have read.
    casting = (layers.BatchNormalization, layers.experimental.SyncBatchNormalization)
    if isinstance(layer, (*casting, layers.LayerNormalization, layers.Embedding)):
        return {}
    own = {id(variable) for variable in tf_keras_private.own_variables(layer) if variable.dtype == "float32"}
    return {name: value for name, value in vars(layer).items() if id(value) in own}


def _in_float32(compute_loss: Callable[..., Any]) -> Callable[..., Any]:
    """The loss function of a model of transformers, of logits in float32."""
    import tensorflow as tf

    def widen(value: Any) -> Any:
        return tf.cast(value, tf.float32) if tf.is_tensor(value) and value.dtype in (tf.float16, tf.bfloat16) else value

    def compute_precise_loss(*args: Any, **kwargs: Any) -> Any:
        return compute_loss(*tf.nest.map_structure(widen, args), **tf.nest.map_structure(widen, kwargs))

    return compute_precise_loss


def _forget_traces(model: Any) -> None:
    """What was traced computes as before."""
    model.train_function = model.test_function = model.predict_function = None
