"""What the benchmarks train: a BERT on tf_keras, a transformer like it on Keras 3, and one batch again and again."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import keras
import numpy as np

WORDS, BATCH, LENGTH = 1000, 8, 32


def bert(layers: int, width: int, heads: int = 2, words: int = WORDS, widening: int = 2):
    """A classifier of transformers, not compiled yet."""
    import transformers

    config = transformers.BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=widening * width,
    )
    return transformers.TFBertForSequenceClassification(config)


def keras3_transformer(layers: int, width: int):
    """A classifier of Keras 3, not compiled yet."""
    tokens = keras.Input((LENGTH,), dtype="int32", name="input_ids")
    x = keras.layers.Embedding(WORDS, width)(tokens)
    for _ in range(layers):
        x = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(2, width // 2, dropout=0.1)(x, x))
        x = keras.layers.LayerNormalization()(x + keras.layers.Dense(width)(keras.layers.Dense(2 * width, "gelu")(x)))
    return keras.Model(tokens, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x)))


def compiled(model: Any, rate: float, metrics: tuple[str, ...] = ()):
    """The model, compiled by the Keras that it is of."""
    of_model = keras if isinstance(model, keras.Model) else importlib.import_module("tf_keras")
    loss = of_model.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(of_model.optimizers.Adam(rate), loss=loss, metrics=list(metrics))
    return model


class SameBatch(keras.utils.PyDataset):
    """So many times the same batch."""

    def __init__(self, batch: Any, steps: int) -> None:
        super().__init__()
        self._batch, self._steps = batch, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> Any:
        return self._batch


def batches(steps: int, words: int = WORDS, batch: int = BATCH, length: int = LENGTH) -> Any:
    """So many times the same random batch: a ``tf.data.Dataset`` where TensorFlow is installed."""
    random = np.random.default_rng(0)
    tokens = random.integers(0, words, (batch, length)).astype("int32")
    labels = random.integers(0, 2, (batch,)).astype("int64")
    pair = ({"input_ids": tokens}, labels)
    if importlib.util.find_spec("tensorflow") is None:
        return SameBatch(pair, steps)
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False  # Or some fits end late, as they wait for the thread that tunes.
    return tf.data.Dataset.from_tensors(pair).repeat(steps).with_options(options)
