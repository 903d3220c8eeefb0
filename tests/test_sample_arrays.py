"""Plain Keras models: what their outputs are taken for, and how many samples of which data they get."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tensorflow as tf
from helpers import KERASES, classifier, samples

from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.evaluation.tables.predicted_samples import PredictedSamples
from tf_hfwb.keras_compat import host_of

pytestmark = pytest.mark.keras3

NAMES = ["no", "yes", "maybe"]
ZEROS = np.zeros((2, 4), "float32")


def shown(model, data, **options) -> list[dict]:
    predicted = PredictedSamples(model, data, **options)
    return predicted.rows(predicted.predict())


def column(rows, name) -> list:
    return [row[name] for row in rows]


def dense(kind, units, activation, loss, *, shape=(4,), dtype="float32"):
    """A model that works on the last axis."""
    keras = importlib.import_module(kind)
    keras.utils.set_random_seed(0)
    x = keras.Input(shape, dtype=dtype)
    model = keras.Model(x, keras.layers.Dense(units, activation=activation, name="out")(x))
    model.compile("sgd", loss)
    return model


def focal(labels, outputs):
    chosen = tf.gather(outputs, tf.cast(tf.reshape(labels, [-1]), tf.int32), axis=1, batch_dims=1)
    return tf.reduce_mean((1 - chosen) ** 2)


@pytest.mark.parametrize("kind", KERASES)
@pytest.mark.parametrize(
    "loss", [{"out": "sparse_categorical_crossentropy"}, ["sparse_categorical_crossentropy"], focal]
)
def test_classes_whatever_the_loss_looks_like(kind, loss):
    rows = shown(dense(kind, 3, "softmax", loss), samples(8), number=4, class_names=NAMES)
    _, labels = samples(8)
    assert column(rows, "label") == [NAMES[label] for label in labels[[0, 2, 4, 7]]]
    assert set(column(rows, "prediction")) <= set(NAMES)
    assert [row["correct"] for row in rows] == [row["label"] == row["prediction"] for row in rows]
    assert [row["loss"] is None for row in rows] == [loss is focal] * 4


def test_labels_tell_classes_and_so_do_names():
    model = dense("keras", 3, "softmax", "poisson")
    one_hot = np.eye(3, dtype="float32")[[2, 0]]
    assert column(shown(model, (ZEROS, np.array([2, 0]))), "label") == ["2", "0"]
    assert column(shown(model, (ZEROS, one_hot)), "label") == ["0 0 1", "1 0 0"]
    assert column(shown(model, (ZEROS, one_hot), class_names=NAMES), "label") == ["maybe", "no"]
    assert column(shown(model, (ZEROS, one_hot[:, ::-1] + one_hot), class_names=NAMES), "label") == ["no, maybe"] * 2
    assert set(column(shown(model, ZEROS, class_names=NAMES), "prediction")) <= set(NAMES)
    with pytest.raises(SettingError, match=r"a name for each of the 3 classes"):
        shown(model, (ZEROS, one_hot), class_names=["no", "yes"])


def test_a_class_for_each_place():
    model = dense("keras", 3, "softmax", "sparse_categorical_crossentropy", shape=(5, 4))
    x, labels = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32"), np.array([[0, 1, 2, 0, 1]] * 2)
    for given in (labels, labels[..., None], np.eye(3)[labels]):
        rows = shown(model, (x, given), class_names=NAMES)
        assert column(rows, "label") == ["no yes maybe no yes"] * 2
        outputs = np.asarray(model(x))
        assert rows[1]["prediction"] == " ".join(NAMES[one] for one in outputs[1].argmax(-1))
        assert rows[1]["probability"] == pytest.approx(outputs[1].max(-1).mean(), rel=1e-5)
        assert rows[1]["accuracy"] == pytest.approx((outputs[1].argmax(-1) == labels[1]).mean())
    rows = shown(model, (x, labels))
    assert rows[1]["loss"] == pytest.approx(model.evaluate(x[1:], labels[1:], verbose=0), rel=1e-4)
    binary = dense("keras", 1, "sigmoid", "binary_crossentropy", shape=(5, 4))
    rows = shown(binary, (x, labels > 0), class_names=["out", "in"])
    assert column(rows, "label") == ["out in in out in"] * 2
    with pytest.raises(DataError, match=r"labels have the shape \(4,\).*model's outputs \(5, 3\).*Pass rows="):
        shown(model, (x, labels[:, :4]))


def test_pictures_as_labels():
    x = np.random.default_rng(0).random((2, 8, 8, 3)).astype("float32")
    classes = np.zeros((2, 8, 8), "int64")
    classes[:, 2:4] = 1
    model = dense("keras", 2, "softmax", "sparse_categorical_crossentropy", shape=(8, 8, 3))
    (row, _) = shown(model, (x, classes))
    assert np.array_equal(row["label"], classes[0] * 255)
    assert row["prediction"].shape == (8, 8)
    assert row["prediction"].dtype == np.uint8
    for loss in ("mse", "binary_crossentropy"):
        (row, _) = shown(dense("keras", 3, "sigmoid", loss, shape=(8, 8, 3)), (x, x))
        assert np.array_equal(row["label"], row["input"])
        assert row["prediction"].shape == (8, 8, 3)
    (row, _) = shown(dense("keras", 40, None, "mse"), (ZEROS, np.ones((2, 40))))
    assert row["label"] == " ".join(["1"] * 32) + " …"


@pytest.mark.parametrize("kind", KERASES)
def test_texts_without_an_axis_of_their_own(kind):
    keras = importlib.import_module(kind)
    layer = keras.layers.TextVectorization(max_tokens=10, output_sequence_length=4)
    layer.adapt(["the cat"])
    layers = [keras.Input((1,), dtype="string"), layer, keras.layers.Embedding(10, 4), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    texts = ["the cat", "🐱 <b>", ""]
    rows = shown(model, tf.data.Dataset.from_tensor_slices((texts, [1, 0, 1])).batch(2))
    assert column(rows, "input") == texts
    assert column(rows, "label") == ["1", "0", "1"]


@pytest.mark.parametrize(
    ("units", "activation", "loss", "labels"),
    [(1, "tanh", "hinge", [1, -1]), (3, None, "categorical_hinge", np.eye(3)[[0, 1]]), (1, None, "bce", [1, 0])],
)
def test_what_is_no_probability_is_not_called_one(units, activation, loss, labels):
    model = dense("keras", units, activation, loss)
    x = np.array([[9, 0, 0, 0], [0, 9, 0, 0]], "float32")
    rows = shown(model, (x, np.asarray(labels, "float32")))
    assert column(rows, "probability") == [None, None]
    outputs = np.asarray(model(x))
    expected = outputs.argmax(-1) if units > 1 else (outputs[:, 0] > (0 if loss == "hinge" else 0.5)).astype(int)
    assert column(rows, "prediction") == [str(one) for one in expected]


def test_no_more_samples_are_predicted_than_shown(monkeypatch):
    model, (x, y) = classifier("keras"), samples(64)
    predicted, host = [], host_of(model)
    real = type(host).predict_on_batch
    monkeypatch.setattr(type(host), "predict_on_batch", lambda self, x: predicted.append(len(x)) or real(self, x))
    tensors = shown(model, (tf.constant(x), tf.constant(y)), number=3)
    assert tensors == shown(model, (x, y), number=3)
    batched = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(64).batch(16)
    assert len(shown(model, batched, number=3)) == 3
    assert len(shown(model, batched.repeat(), number=20)) == 20
    assert predicted == [3, 3, 3, 16, 4]
    own = shown(model, batched, number=5, rows=lambda x, labels, outputs: [{"label": int(one)} for one in labels])
    assert len(own) == 5
