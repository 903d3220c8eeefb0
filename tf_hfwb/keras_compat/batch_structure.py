"""What a batch of a model consists of: inputs, labels and weights, apart and together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_hfwb.keras_compat.transformers_models import call_arguments, is_of_transformers, label_arguments

LABELS, WEIGHTS = "labels", "sample_weight"
_BARE_INPUTS = "inputs"


def split_batch(model: Any, batch: Any) -> tuple[Any, Any, Any]:
    """Inputs, labels and sample weights of a batch, or of the specification of one.

    The labels of a transformers model may be among its inputs, where ``to_tf_dataset`` may put them.
    """
    if isinstance(batch, (tuple, list)):  # PyTorch's loaders give lists, which Keras takes for tuples.
        inputs, labels, weights = (*batch, None, None)[:3]
        return inputs, labels, weights
    if not (is_of_transformers(model) and isinstance(batch, Mapping)):
        return batch, None, None
    names = [name for name in label_arguments(model) if name in batch]
    inputs = {name: value for name, value in batch.items() if name not in names}
    if len(names) == 1:
        return inputs, batch[names[0]], None
    return inputs, {name: batch[name] for name in names} or None, None


def join_arguments(model: Any, inputs: Any, labels: Any) -> Any:
    """The inputs and labels as the arguments of ``model.call``, as ``test_step`` of transformers joins them."""
    if labels is None:
        return inputs
    arguments = call_arguments(model)
    if not isinstance(inputs, Mapping):
        inputs = {arguments[0]: inputs}
    if not isinstance(labels, Mapping):
        labels = dict.fromkeys(label_arguments(model)[:1], labels)
    # Labels may have the names of the outputs that they are compared with.
    label_of = {output: label for label, output in model.get_label_to_output_name_mapping().items()}
    labels = {label_of.get(name, name): value for name, value in labels.items()}
    return {**{name: value for name, value in labels.items() if name in arguments}, **inputs}


def match_labels(model: Any, labels: Any, outputs: Any) -> tuple[Any, Any]:
    """Labels and the outputs that metrics compare them with, as ``test_step`` of transformers matches them."""
    if not isinstance(outputs, Mapping):
        return labels, outputs[0] if isinstance(outputs, tuple) else outputs
    if not isinstance(labels, Mapping):
        return labels, next(value for name, value in outputs.items() if name != "loss")
    output_of = model.get_label_to_output_name_mapping()
    labels = {output_of.get(name, name): value for name, value in labels.items()}
    return labels, {name: outputs[name] for name in labels}


def as_one_dict(model: Any, inputs: Any, labels: Any, weights: Any) -> dict[str, Any]:
    """A batch as a function of the user's gets it: one new dict with everything by name.

    The labels of a transformers model have the names of its arguments; those of any other model are ``"labels"``,
    however they are nested. Inputs that have no names are ``"inputs"``, and weights ``"sample_weight"``.
    """
    if is_of_transformers(model):
        joined = join_arguments(model, inputs, labels)
        batch = dict(joined) if isinstance(joined, Mapping) else {call_arguments(model)[0]: joined}
    else:
        batch = dict(inputs) if isinstance(inputs, Mapping) else {_BARE_INPUTS: inputs}
        if labels is not None:
            batch[LABELS] = labels
    return batch if weights is None else {**batch, WEIGHTS: weights}


def as_inputs(batch: Mapping[str, Any]) -> Any:
    """What a model is called with: the batch, or its inputs without a name."""
    return batch[_BARE_INPUTS] if set(batch) == {_BARE_INPUTS} else batch
