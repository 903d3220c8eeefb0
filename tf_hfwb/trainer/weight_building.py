"""The weights of a model that has none yet, by whatever is there to make them."""

from __future__ import annotations

from typing import Any

from tf_hfwb.data import Batches
from tf_hfwb.evaluation.prediction_pass import split_batch
from tf_hfwb.keras_compat import host_of, is_of_transformers


def build_by(model: Any, batches: Batches | None) -> None:
    """Make the weights of a model that has none yet, or not all of them.

    Args:
        model: The model.
        batches: Data for it. None: a model of transformers is built by inputs of its own, another one is left alone.
    """
    host = host_of(model)
    if host.build():
        return
    if batches is not None:
        inputs = split_batch(model, next(iter(batches.dataset.take(1))))[0]
    elif is_of_transformers(model):
        inputs = model.dummy_inputs
    else:
        return
    with host.scope():
        model(inputs)
