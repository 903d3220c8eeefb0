"""Build the weights of a model that has none yet."""

from __future__ import annotations

from typing import Any

from tf_hfwb.data import Batches
from tf_hfwb.data.loaders import is_loader, read_loader
from tf_hfwb.keras_compat import host_of, is_of_transformers, split_batch


def build_weights(model: Any, batches: Batches | None) -> None:
    """Build the weights of a model that has none yet, or not all of them.

    Args:
        model: The model.
        batches: Data for it. Without data a model of transformers is called on its own dummy inputs, and any other
            model stays as it is.
    """
    host = host_of(model)
    if host.build():
        return
    if batches is not None:
        dataset = batches.dataset
        first_batch = next(read_loader(dataset) if is_loader(dataset) else iter(dataset.take(1)))
        inputs, _, _ = split_batch(model, first_batch)
    elif is_of_transformers(model):
        inputs = model.dummy_inputs
    else:
        return
    with host.scope():
        model(inputs)
