"""Count the tokens of the batches that a training gets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_hfwb.data import Batches
from tf_hfwb.errors import DataError
from tf_hfwb.evaluation.batch_parts import main_input
from tf_hfwb.fit.token_totals import TokenCounts
from tf_hfwb.keras_compat import prepares_inputs, split_batch
from tf_hfwb.keras_compat.hub_tasks import is_prepared

if TYPE_CHECKING:
    import tensorflow as tf


def count_tokens(batches: Batches, counts: TokenCounts, model: Any, pad_token_id: int | None, kind: str) -> Batches:
    """The same batches, whose tokens are counted as they are made.

    Args:
        batches: The batches of a whole training, one after the other.
        counts: Where they are counted.
        model: The model, which names its main input.
        pad_token_id: What is padding where there is no ``attention_mask``; None if that is not known.
        kind: ``"all"`` counts the values of the main input, ``"non_padding"`` those that are no padding.

    Raises:
        DataError: Keras reads the data anew for each epoch, or the model does not name its main input.

    Follows ``Trainer`` of transformers.
    """
    import tensorflow as tf

    if batches.steps_per_epoch is None and batches.dataset.cardinality() != tf.data.INFINITE_CARDINALITY:
        raise DataError(
            "The length of train_dataset is unknown, so that its tokens cannot be counted. Expected a length. Call "
            "dataset.apply(tf.data.experimental.assert_cardinality(n)), or leave out include_num_input_tokens_seen and "
            "include_tokens_per_second."
        )
    inputs, _, _ = split_batch(model, batches.dataset.element_spec)
    if prepares_inputs(model) and not is_prepared(model, inputs):
        raise DataError(
            f"The tokens of what {type(model).__name__} prepares itself cannot be counted: the batches hold texts or "
            "images. Expected no count. Leave out include_num_input_tokens_seen and include_tokens_per_second."
        )
    if isinstance(main_input(model, inputs), Mapping):
        raise DataError(
            f"{type(model).__name__} does not say which of its inputs {list(inputs)} are tokens. Expected the name of "
            f"one of them in its attribute main_input_name. Set model.main_input_name = {next(iter(inputs))!r}."
        )

    def record(batch: np.int64, tokens: np.int64) -> np.int64:
        counts.add(int(batch), int(tokens))
        return tokens

    def count(index: tf.Tensor, batch: Any) -> Any:
        tokens = _number_of_tokens(model, split_batch(model, batch)[0], pad_token_id, kind)
        with tf.control_dependencies([tf.numpy_function(record, [index, tokens], tf.int64)]):
            return tf.nest.map_structure(tf.identity, batch)

    dataset = batches.dataset.enumerate().map(count).prefetch(tf.data.AUTOTUNE)
    return dataclasses.replace(batches, dataset=dataset)


def _number_of_tokens(model: Any, inputs: Any, pad_token_id: int | None, kind: str) -> tf.Tensor:
    import tensorflow as tf

    tokens = main_input(model, inputs)
    if kind == "non_padding" and isinstance(inputs, Mapping) and "attention_mask" in inputs:
        return tf.reduce_sum(tf.cast(inputs["attention_mask"], tf.int64))
    if kind == "non_padding" and pad_token_id is not None:
        return tf.math.count_nonzero(tokens != tf.cast(pad_token_id, tokens.dtype))
    return tf.size(tokens, out_type=tf.int64)
