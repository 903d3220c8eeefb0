"""Noise on the input embeddings of a model of transformers, in training only (NEFTune)."""

from __future__ import annotations

import functools
from typing import Any

from tf_hfwb.keras_compat import tf_keras_private
from tf_hfwb.keras_compat.transformers_models import is_of_transformers

_ATTRIBUTE = "tf_hfwb_noise"  # Of the embedding, so that the model knows the state of the noise.


def add_noise(model: Any, alpha: float) -> bool:
    """Add uniform noise to the embeddings of tokens; return whether the model has a layer for these.

    Args:
        model: The model. BERT and its like look their tokens up themselves, in no layer of their own.
        alpha: The noise is up to ``alpha / sqrt(length * width)``, as in the ``Trainer`` of transformers.
    """
    if not is_of_transformers(model):
        return False
    import tf_keras

    remove_noise(model)
    embedding = _input_embedding(model)
    if not isinstance(embedding, tf_keras.layers.Embedding):
        return False
    noise, call = _noise_layer(alpha)(dtype=embedding.dtype_policy), embedding.call
    setattr(embedding, _ATTRIBUTE, noise)

    @functools.wraps(call)
    def call_with_noise(*args: Any, **kwargs: Any) -> Any:
        return noise(call(*args, **kwargs))  # Keras tells the layer whether this is training.

    embedding.call = call_with_noise
    model.train_function = None
    return True


def remove_noise(model: Any) -> None:
    """Add no noise, as before :func:`add_noise`."""
    embedding = _input_embedding(model) if is_of_transformers(model) else None
    if hasattr(embedding, _ATTRIBUTE):
        delattr(embedding, _ATTRIBUTE)
        del vars(embedding)["call"]
        model.train_function = None


def _input_embedding(model: Any) -> Any:
    """The embedding of its input; None of a model that has none, or several as CLIP has."""
    try:
        return model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None


def _noise_layer(alpha: float) -> type[Any]:
    import tensorflow as tf
    import tf_keras

    class Noise(tf_keras.__internal__.layers.BaseRandomLayer):  # type: ignore[misc]
        def call(self, inputs: Any, training: bool | None = None) -> Any:
            if not training:
                return inputs
            shape = tf.shape(inputs)
            limit = alpha / tf.sqrt(tf.cast(shape[1] * shape[2], tf.float32))
            generator = tf_keras_private.generator_of(self)
            noise = generator.random_uniform(shape, -1.0, 1.0, dtype="float32") * limit
            return inputs + tf.cast(noise, inputs.dtype)

    return Noise
