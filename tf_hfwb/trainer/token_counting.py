"""Count the tokens of the batches that a training gets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_hfwb.data import Batches
from tf_hfwb.data.tf_data import Length, is_tf_data, length_of
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
    dataset = batches.dataset
    if batches.steps_per_epoch is None and length_of(dataset) is Length.UNKNOWN:
        raise DataError(
            "The length of train_dataset is unknown, so that its tokens cannot be counted. Expected a length. Call "
            "dataset.apply(tf.data.experimental.assert_cardinality(n)), or leave out include_num_input_tokens_seen and "
            "include_tokens_per_second."
        )
    inputs, _, _ = split_batch(model, dataset.element_spec)
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

    if is_tf_data(dataset):
        return dataclasses.replace(batches, dataset=_count_in_graph(dataset, counts, model, pad_token_id, kind))

    def count(number: int, batch: Any) -> Any:
        values, excluded = _counted(split_batch(model, batch)[0], model, pad_token_id, kind)
        counts.add(number, values.size if excluded is None else int(np.count_nonzero(values != excluded)))
        return batch

    return dataclasses.replace(batches, dataset=dataset.map(count))


def _count_in_graph(
    dataset: tf.data.Dataset, counts: TokenCounts, model: Any, pad_token_id: int | None, kind: str
) -> tf.data.Dataset:
    import tensorflow as tf

    def record(batch: np.int64, tokens: np.int64) -> np.int64:
        counts.add(int(batch), int(tokens))
        return tokens

    def count(index: tf.Tensor, batch: Any) -> Any:
        values, excluded = _counted(split_batch(model, batch)[0], model, pad_token_id, kind)
        if excluded is None:
            tokens = tf.size(values, out_type=tf.int64)
        else:
            tokens = tf.math.count_nonzero(values != tf.cast(excluded, values.dtype))
        with tf.control_dependencies([tf.numpy_function(record, [index, tokens], tf.int64)]):
            return tf.nest.map_structure(tf.identity, batch)

    return dataset.enumerate().map(count).prefetch(tf.data.AUTOTUNE)


def _counted(inputs: Any, model: Any, pad_token_id: int | None, kind: str) -> tuple[Any, Any]:
    """The values that are counted, and the one that is not: 0 in a mask, padding in tokens; None if all are."""
    if kind == "non_padding" and isinstance(inputs, Mapping) and "attention_mask" in inputs:
        return inputs["attention_mask"], 0
    return main_input(model, inputs), pad_token_id if kind == "non_padding" else None
