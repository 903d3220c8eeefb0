"""Losses, metrics, predictions and labels of a pass over a data set, against direct calls of the model."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
import transformers
from helpers import KERASES, nightly, samples

from tf_hfwb.data import evaluation_batches
from tf_hfwb.evaluation.batch_runner import BatchRunner
from tf_hfwb.evaluation.prediction_pass import Gathering

MODELS = {
    "bert": (tiny.bert, tiny.classified),
    "distilbert": (tiny.distilbert, tiny.tagged),
    "gpt2": (tiny.gpt2, tiny.next_words),
    "t5": (tiny.t5, tiny.answered),
    "vit": (tiny.vit, tiny.pictures),
}


def batches_of(model, data, batch_size: int = 4):
    return evaluation_batches(data, batch_size, model=model, processing_class=tiny.tokenizer()).dataset


def own_loss(model, **options):
    model.compile("sgd", loss="auto", **options)
    return model


def padded(arrays: list[np.ndarray]) -> np.ndarray:
    """In one array of the largest widths, the rest -100."""
    widths = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    whole = np.full((sum(map(len, arrays)), *widths), -100, arrays[0].dtype)
    row = 0
    for array in arrays:
        whole[(slice(row, row + len(array)), *(slice(width) for width in array.shape[1:]))] = array
        row += len(array)
    return whole


def cross_entropy(logits, labels) -> float:
    """Of the labels that are none of -100, in float64."""
    logits = np.asarray(logits, np.float64)
    log_probabilities = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    kept = labels != -100
    return float(-np.mean(log_probabilities[kept, labels[kept]]))


@pytest.mark.parametrize("name", MODELS)
def test_one_pass_gives_what_direct_calls_give(name):
    make, data = MODELS[name]
    model = own_loss(make())
    dataset = batches_of(model, data())
    logits, labels, losses, sizes = [], [], [], []
    for inputs, targets in dataset:
        outputs = model({**inputs, "labels": targets}, training=False)
        logits.append(outputs.logits.numpy())
        labels.append(targets.numpy())
        if name == "gpt2":  # Predicts the next token.
            losses.append(cross_entropy(logits[-1][:, :-1], labels[-1][:, 1:]))
        else:
            losses.append(cross_entropy(logits[-1], labels[-1]))
        sizes.append(len(targets))
    assert sizes == [4, 4, 3]
    done = BatchRunner(model).predict(dataset)
    predictions = done.predictions[0] if name == "t5" else done.predictions
    np.testing.assert_allclose(predictions, padded(logits), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(done.labels, padded(labels))
    assert set(done.metrics) == {"loss"}
    assert done.metrics["loss"] == pytest.approx(np.average(losses, weights=sizes), rel=1e-5)
    if name not in ("bert", "vit"):
        assert (done.labels == -100).any()
    without = BatchRunner(model).evaluate(dataset, predict=False)
    assert without.metrics == pytest.approx(done.metrics)
    assert without.predictions is without.labels is None


def test_encoder_states_of_a_sequence_to_sequence_model_are_the_second_output():
    model = own_loss(tiny.t5())
    done = BatchRunner(model).predict(batches_of(model, tiny.answered()))
    logits, states = done.predictions
    assert logits.shape == (11, 17, tiny.VOCAB_SIZE)
    assert states.shape == (11, 17, 16)


@pytest.mark.parametrize("has_own_loss", [True, nightly(False)])
def test_states_of_all_layers_are_a_tuple_among_the_predictions(has_own_loss):
    """As the Trainer gives them; a cache is none of them, and of widths that differ the shorter are padded."""
    model = tiny.gpt2()
    model.config.output_hidden_states = model.config.output_attentions = True
    if has_own_loss:
        model = own_loss(model)
    else:
        model.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100))
    dataset = batches_of(model, tiny.next_words())
    logits, states, attentions = BatchRunner(model).predict(dataset).predictions
    assert (type(states), type(attentions)) == (tuple, tuple)
    assert (len(states), len(attentions)) == (model.config.n_layer + 1, model.config.n_layer)
    direct = [model(inputs, training=False) for inputs, _ in dataset]
    np.testing.assert_allclose(logits, padded([one.logits.numpy() for one in direct]), atol=1e-5)
    for layer, found in enumerate(states):
        np.testing.assert_allclose(found, padded([one.hidden_states[layer].numpy() for one in direct]), atol=1e-5)
    assert attentions[0].shape == (11, model.config.n_head, logits.shape[1], logits.shape[1])
    kept = Gathering(preprocess=lambda outputs, labels: (outputs[0].argmax(-1), outputs[1]))
    classes, same = BatchRunner(model).predict(dataset, kept).predictions
    assert classes.shape == logits.shape[:2]
    np.testing.assert_array_equal(same[1], states[1])
    ignored = Gathering(ignored=frozenset({"hidden_states", "attentions", "past_key_values"}))
    np.testing.assert_array_equal(BatchRunner(model).predict(dataset, ignored).predictions, logits)


def test_batches_of_different_widths_share_one_trace():
    model = own_loss(tiny.gpt2())
    runner = BatchRunner(model)
    for number in (11, 7):
        runner.predict(batches_of(model, tiny.next_words(number), batch_size=1))
    assert runner._own_loss.with_predictions.experimental_get_tracing_count() == 1


def test_metrics_that_a_transformers_model_was_compiled_with():
    model = own_loss(tiny.bert(), metrics=["accuracy"])
    runner = BatchRunner(model)
    for number in (2, 11):  # Nothing is left from the pass before.
        dataset = batches_of(model, tiny.classified(number))
        done = runner.predict(dataset)
        right = np.argmax(done.predictions, axis=-1) == done.labels
        assert done.metrics["accuracy"] == pytest.approx(right.mean())
    assert done.metrics == pytest.approx(model.evaluate(dataset, return_dict=True, verbose=0))
    model.compile("sgd", loss="auto", metrics=[tf_keras.metrics.SparseTopKCategoricalAccuracy(3, name="top")])
    assert runner.evaluate(dataset, predict=False).metrics["top"] == 1


def test_several_labels():
    config = transformers.BertConfig(vocab_size=tiny.VOCAB_SIZE, **tiny.TEXT)
    model = own_loss(tiny.seeded(transformers.TFBertForQuestionAnswering, config))
    dataset = batches_of(model, tiny.texts(5, start_positions=[0, 1, 2, 3, 0], end_positions=[1, 2, 3, 4, 1]))
    done = BatchRunner(model).predict(dataset)
    np.testing.assert_array_equal(done.labels, [[0, 1, 2, 3, 0], [1, 2, 3, 4, 1]])
    start, end = done.predictions
    assert start.shape == end.shape == (5, 13)
    losses = [
        (cross_entropy(start[rows], done.labels[0][rows]) + cross_entropy(end[rows], done.labels[1][rows])) / 2
        for rows in ([0, 1, 2, 3], [4])
    ]
    # Logits beyond a batch's own width are -100 here, which adds nothing.
    assert done.metrics["loss"] == pytest.approx(np.average(losses, weights=[4, 1]), rel=1e-4)


def test_labels_among_the_inputs_are_found():
    model = own_loss(tiny.bert(), metrics=["accuracy"])
    apart = batches_of(model, tiny.classified())
    among = apart.map(lambda inputs, labels: {**inputs, "labels": labels})
    expected, found = (BatchRunner(model).predict(dataset) for dataset in (apart, among))
    assert found.metrics == pytest.approx(expected.metrics)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.predictions, expected.predictions)


def test_sample_weights_count_as_keras_counts_them():
    model = own_loss(tiny.bert())
    dataset = batches_of(model, tiny.classified()).map(
        lambda inputs, labels: (inputs, labels, 1.0 + tf.cast(labels, tf.float32))
    )
    done = BatchRunner(model).evaluate(dataset, predict=False)
    assert done.metrics == pytest.approx(model.evaluate(dataset, return_dict=True, verbose=0))
    unweighted = BatchRunner(model).evaluate(dataset.map(lambda x, y, w: (x, y)), predict=False)
    assert done.metrics["loss"] > 1.5 * unweighted.metrics["loss"]


def test_a_loss_given_to_compile_is_kept():
    """Its labels need not be those of the model's own loss."""
    model = tiny.bert()
    model.compile("sgd", loss=tf_keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    dataset = batches_of(model, tiny.classified()).map(lambda inputs, labels: (inputs, tf.one_hot(labels, 3)))
    done = BatchRunner(model).predict(dataset)
    classes = np.argmax(done.labels, axis=-1)
    assert done.labels.shape == (11, 3)
    assert done.metrics["loss"] == pytest.approx(cross_entropy(done.predictions, classes), rel=1e-5)
    assert done.metrics["accuracy"] == pytest.approx(np.mean(np.argmax(done.predictions, axis=-1) == classes))


def test_without_labels_there_are_predictions_only():
    model = own_loss(tiny.bert())
    runner = BatchRunner(model)
    labelled = batches_of(model, tiny.classified())
    done = runner.predict(labelled.map(lambda inputs, labels: inputs))
    np.testing.assert_array_equal(done.predictions, runner.predict(labelled).predictions)
    assert done.labels is None
    assert done.metrics == {}


@pytest.mark.parametrize("kind", KERASES)
def test_plain_models(kind):
    model = tiny.functional(kind)
    x, y = samples(11)
    dataset = evaluation_batches(tiny.named((x, y)), 4, model=model).dataset
    runner = BatchRunner(model)
    done = runner.predict(dataset)
    np.testing.assert_allclose(done.predictions, np.asarray(model({"x": x})), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(done.labels, y)
    assert done.metrics["loss"] == pytest.approx(cross_entropy(done.predictions, y), rel=1e-5)
    assert done.metrics["accuracy"] == pytest.approx(np.mean(np.argmax(done.predictions, axis=-1) == y))
    assert runner.evaluate(dataset, predict=False).metrics == pytest.approx(done.metrics)
    unlabelled = runner.predict(dataset.map(lambda inputs, labels: inputs))
    np.testing.assert_array_equal(unlabelled.predictions, done.predictions)
    assert unlabelled.metrics == {}


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_widths_and_several_outputs_of_plain_models(kind):
    keras = importlib.import_module(kind)
    words = keras.Input((None,), dtype="int32", name="words")
    each = keras.layers.Embedding(10, 2)(words)
    model = keras.Model(words, [each, keras.layers.GlobalAveragePooling1D()(each)])
    batches = [np.array([[1, 2]]), np.array([[3, 4, 5], [6, 7, 8]])]
    dataset = tf.data.Dataset.from_generator(lambda: batches, output_signature=tf.TensorSpec([None, None], tf.int32))
    each, means = BatchRunner(model).predict(dataset).predictions
    np.testing.assert_array_equal(each, padded([np.asarray(model(batch)[0]) for batch in batches]))
    np.testing.assert_allclose(means, np.concatenate([np.asarray(model(batch)[1]) for batch in batches]), rtol=1e-6)
    assert each.shape == (3, 3, 2)
    assert (each[0, 2] == -100).all()
