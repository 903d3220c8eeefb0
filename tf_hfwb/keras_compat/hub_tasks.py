"""Task models of KerasHub, which prepare texts and images themselves: no other file asks what they take.

A task with a preprocessor takes raw batches in ``fit``, ``evaluate`` and ``predict``, and maps its preprocessor over
them in the input pipeline. Its ``predict_on_batch`` does that, too, but while its caller waits.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tf_hfwb.keras_compat.keras3_private import all_layers

if TYPE_CHECKING:
    import tensorflow as tf


def is_hub_task(model: Any) -> bool:
    """Whether it is a task model of KerasHub, such as a ``BertTextClassifier``."""
    library = sys.modules.get("keras_hub")  # Such a model can only exist if it has been imported.
    return library is not None and isinstance(model, library.models.Task)


def prepares_inputs(model: Any) -> bool:
    """Whether it is such a task with a preprocessor, so that it takes texts or images as they are."""
    return is_hub_task(model) and model.preprocessor is not None


def generates_text(model: Any) -> bool:
    """Whether it is such a task that makes texts of texts."""
    library = sys.modules.get("keras_hub")
    if library is None or not prepares_inputs(model):
        return False
    return isinstance(model, (library.models.CausalLM, library.models.Seq2SeqLM))


def is_sequence_to_sequence(model: Any) -> bool:
    """Whether it is such a task with an encoder and a decoder, each of which has a text."""
    library = sys.modules.get("keras_hub")
    return library is not None and isinstance(model, library.models.Seq2SeqLM)


def takes_pairs(model: Any) -> bool:
    """Whether its preprocessor joins several texts into one sample."""
    library = sys.modules.get("keras_hub")
    return library is not None and isinstance(model.preprocessor, library.models.TextClassifierPreprocessor)


def is_prepared(model: Any, inputs: Any) -> bool:
    """Whether inputs are what a task's preprocessor would give: they have the names of all inputs of its graph."""
    return isinstance(inputs, Mapping) and {tensor.name for tensor in model.inputs} <= set(inputs)


def pass_prepared_inputs(model: Any) -> None:
    """Let a task with a preprocessor take inputs that have been prepared already; it would prepare them again."""
    if prepares_inputs(model) and not isinstance(model.preprocess_samples, _Preparation):
        model.preprocess_samples = _Preparation(model, model.preprocess_samples)


@dataclass(frozen=True)
class _Preparation:
    """Takes the place of a task's ``preprocess_samples``, which KerasHub lets users replace."""

    model: Any
    prepare: Any

    def __call__(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        import keras

        if is_prepared(self.model, x):
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        _revive_tokenizers(self.model)
        return self.prepare(x, y, sample_weight)


def _revive_tokenizers(model: Any) -> None:
    """Make those tokenizers of a task's preprocessor anew that are lost, where a graph is being made that holds them.

    Whatever sets TensorFlow's seed clears the kernels that it keeps, and a SentencePiece model is gone with its kernel.
    """
    tf: Any = sys.modules.get("tensorflow")
    # Outside of graphs KerasHub takes the tokenizer's twin, which is no operation of TensorFlow.
    if tf is None or not tf.inside_function():
        return
    kind = sys.modules["keras_hub"].tokenizers.SentencePieceTokenizer
    for tokenizer in all_layers(model.preprocessor):
        if isinstance(tokenizer, kind):
            with tf.init_scope():
                text = tf.constant([""])
                tokenize = tf.function(tokenizer.tokenize).get_concrete_function(text)
                try:
                    tokenize(text)
                except tf.errors.NotFoundError:
                    tokenizer.set_proto(tokenizer.proto)


def prepared_batches(model: Any, dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Pairs of each batch of a dataset and the same prepared by a task, on the threads of the pipeline.

    Args:
        model: The task, with a preprocessor.
        dataset: Its batches: inputs, or tuples of inputs, labels and weights.
    """
    import tensorflow as tf

    def prepare(*batch: Any) -> Any:
        return batch, _as_tuple(model.preprocess_samples(*batch))

    return dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def prepare_inputs(model: Any, inputs: Any) -> Any:
    """What the graph of a task takes, of one batch of texts or images."""
    import tensorflow as tf

    # Backends other than TensorFlow have no strings.
    tensors = tf.nest.map_structure(tf.convert_to_tensor, inputs)
    return _as_tuple(model.preprocess_samples(tensors))[0]


def parts_of_preprocessor(model: Any) -> list[Any]:
    """The tables of TensorFlow that the preprocessor of a task looks into, which belong into an exported model."""
    import tensorflow as tf

    kinds = (tf.lookup.StaticHashTable, tf.lookup.experimental.MutableHashTable, tf.Module)
    held = [value for layer in all_layers(model.preprocessor) for value in vars(layer).values()]
    found = [value for value in held if isinstance(value, kinds)]
    return found + [inner for one in found for inner in vars(one).values() if isinstance(inner, kinds)]


def predict_prepared(model: Any, inputs: Any) -> Any:
    """The outputs of a task for a batch that is prepared."""
    import keras

    return keras.Model.predict_on_batch(model, inputs)


def _as_tuple(batch: Any) -> tuple[Any, ...]:
    return batch if isinstance(batch, tuple) else (batch,)
