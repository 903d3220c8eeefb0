"""Plain models of either Keras in a SavedModel."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
from helpers import KERASES, nightly

from tf_hfwb import export_for_serving
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import plain_to_float32
from tf_hfwb.serving.keras_servable import PlainServable


@pytest.mark.parametrize("kind", KERASES)
@pytest.mark.parametrize("nested", [lambda a: a, lambda a: [a], lambda a: {"a": a}], ids=["bare", "list", "dict"])
def test_inputs_are_given_as_the_model_was_made(kind, nested):
    keras = importlib.import_module(kind)
    a = keras.Input((4,), name="a")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The structure of `inputs`")
        (example,) = PlainServable(keras.Model(nested(a), a * 2)).examples
    np.testing.assert_array_equal(example.expected["output_0"], example.inputs["a"] * 2)


@pytest.mark.parametrize("kind", KERASES)
def test_inputs_of_open_sides_are_large_enough(kind):
    keras = importlib.import_module(kind)
    picture = keras.Input((None, None, 3), name="picture")
    (example,) = PlainServable(keras.Model(picture, keras.layers.Conv2D(2, 7)(picture))).examples
    assert example.inputs["picture"].shape == (3, 32, 32, 3)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["keras", "tf_keras"])
def test_a_model_of_texts_in_half_precision_is_served_in_float32(kind, tmp_path, capsys):
    keras = importlib.import_module(kind)
    layers = keras.layers
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        words = layers.TextVectorization(max_tokens=20, output_sequence_length=5)
        words.adapt(["the quick fox", "hello you"])
        text = keras.Input((), dtype="string", name="text")
        mean = layers.GlobalAveragePooling1D()(layers.Embedding(20, 4, embeddings_initializer="normal")(words(text)))
        model = keras.Model(text, layers.Dense(2)(mean))
        path = export_for_serving(model, tmp_path)
        assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert capsys.readouterr().out == ""  # The command's standard output is the path alone.
    answers = tf.saved_model.load(str(path)).signatures["serving_default"](text=tf.constant(["the fox", "you"]))
    assert answers["output_0"].dtype == tf.float32
    half = np.asarray(tf.cast(model(tf.constant(["the fox", "you"])), tf.float32))
    np.testing.assert_allclose(answers["output_0"], half, atol=0.02)
    assert np.abs(answers["output_0"] - half).max() > 1e-7
    assert np.abs(half[0] - half[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        ("mixed_float16", "tf_keras"),
        ("mixed_bfloat16", "keras"),
        *(nightly("mixed_float16", "keras"), nightly("mixed_bfloat16", "tf_keras")),
    ],
)
def test_half_precision_in_models_within_models(kind, policy):
    keras = importlib.import_module(kind)

    class Double(keras.layers.Layer):
        def call(self, inputs):
            return inputs * 2

    keras.mixed_precision.set_global_policy(policy)
    try:
        inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), Double()])
        a = keras.Input((4,), name="a")
        model = keras.Model(a, keras.layers.Dense(2, dtype="float32")(inner(a)))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    twin = plain_to_float32(model)
    assert {str(layer.compute_dtype) for layer in twin._flatten_layers()} == {"float32"}
    for mine, its in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)
    assert plain_to_float32(twin) is twin


def test_a_name_that_is_no_argument_is_served_as_tensorflow_writes_it(tmp_path):
    a = tf_keras.Input((2,), name="a/b")
    loaded = tf.saved_model.load(str(export_for_serving(tf_keras.Model(a, a * 2), tmp_path)))
    assert list(loaded.signatures["serving_default"].structured_input_signature[1]) == ["a_b"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_length": 5}, "max_length=5"),
        ({"sample_texts": ["a"]}, "sample_texts=..a.. .* no model of transformers that takes texts"),
        ({"processing_class": tiny.tokenizer()}, "processing_class='PreTrainedTokenizerFast' .* None with a plain"),
    ],
)
def test_options_about_texts_are_refused(options, match, tmp_path):
    with pytest.raises(SettingError, match=match):
        export_for_serving(tiny.functional("keras"), tmp_path / "served", **options)
    assert not (tmp_path / "served").exists()
