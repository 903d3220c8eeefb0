"""``training_batches`` where TensorFlow is missing: the order, and trainings with ``fit`` that resume exactly."""

from __future__ import annotations

import datasets
import keras
import numpy as np
import pytest

from tf_hfwb import WandbModelCheckpoint, restore, training_batches
from tf_hfwb.data import batches as batches_module
from tf_hfwb.data import evaluation_batches

pytestmark = pytest.mark.core

ORDER_OF_TEN = [[4, 5, 7, 3], [6, 1, 2, 0], [8, 9], [6, 1, 5, 4], [2, 8, 3, 7], [0, 9]]
LATE_BATCH = [14461, 31455, 11254, 20625]
NUMBER, BATCH = 22, 4
STEPS = 6  # In an epoch, the last one with two samples.


@pytest.fixture(autouse=True)
def without_tensorflow(monkeypatch):
    """Where it is installed, for other tests, batches are made as if it were not."""
    monkeypatch.setattr(batches_module, "has_tensorflow", lambda: False)


@pytest.fixture(autouse=True)
def no_run(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(tmp_path)


def arrays():
    random = np.random.default_rng(0)
    return random.normal(size=(NUMBER, 3)), random.integers(0, 2, NUMBER)


def dict_of_arrays():
    x, y = arrays()
    return {"x": x, "z": x[:, :1]}, y


def rows():
    x, y = arrays()
    return datasets.Dataset.from_dict({"x": x.tolist(), "z": x[:, :1].tolist(), "label": y.tolist()})


def make_model(keys):
    keras.utils.set_random_seed(3)
    inputs = {key: keras.Input((size,), name=key) for key, size in keys.items()}
    hidden = keras.layers.Dropout(0.3)(keras.layers.Dense(4)(keras.layers.Concatenate()(list(inputs.values()))))
    if len(inputs) == 1:
        (inputs,) = inputs.values()
    model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss, metrics=["accuracy"])
    return model


KINDS = {
    "arrays": (arrays, {}),
    "a dict of arrays": (dict_of_arrays, {}),
    "a dataset": (rows, {}),
    "a dataset read batch by batch": (rows, {"keep_in_memory": False}),
    "threads": (rows, {"num_workers": 1, "data_collator": lambda found: with_noise(found)}),
    "a stream": (lambda: rows().to_iterable_dataset(), {}),
}


def with_noise(found):
    """The rows with noise, which depends on the step."""
    batch = {name: np.array([row[name] for row in found]) for name in found[0]}
    return batch | {"x": batch["x"] + np.random.normal(size=batch["x"].shape)}


def as_array(variable):
    return keras.ops.convert_to_numpy(variable)


def train(kind, start, callbacks=()):
    make_data, options = KINDS[kind]
    model = make_model({"x": 3} if kind == "arrays" else {"x": 3, "z": 1})
    position = restore(model, start) if start else None
    first = position.batches if position else 0
    batches = training_batches(make_data(), BATCH, model=model, start_step=first, **options)
    assert batches.steps_per_epoch in (STEPS, None)
    model.fit(batches.dataset, epochs=3, steps_per_epoch=STEPS, callbacks=list(callbacks), verbose=0)
    return model


@pytest.mark.parametrize(
    "kind",
    [kind if kind in ("arrays", "a dataset") else pytest.param(kind, marks=pytest.mark.nightly) for kind in KINDS],
)
def test_a_training_resumes_in_the_middle_of_an_epoch_bit_for_bit(kind, tmp_path):
    whole = train(kind, None, [WandbModelCheckpoint(tmp_path, save_freq=4)])
    resumed = train(kind, tmp_path / "checkpoint-8")
    for mine, other in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(as_array(mine), as_array(other))
    for mine, other in zip(resumed.optimizer.variables, whole.optimizer.variables, strict=True):
        np.testing.assert_array_equal(as_array(mine), as_array(other))


def test_what_was_begun_with_tensorflow_has_this_order():
    """Wherever it is trained: these are the batches that ``tf.data`` makes."""
    x = np.arange(10)
    options = {"num_epochs": 2, "seed": 7}
    found = [batch.tolist() for batch in training_batches(x, 4, **options).dataset]
    assert found == ORDER_OF_TEN
    rest = training_batches(x, 4, start_step=4, **options).dataset
    assert [batch.tolist() for batch in rest] == ORDER_OF_TEN[4:]
    late = training_batches(np.arange(70_000), 4, start_step=10**12).dataset[1]
    assert late.tolist() == LATE_BATCH


def test_a_known_number_of_epochs_is_not_shuffled_by_keras():
    seen = []

    def collate(found):
        seen.append([row["x"] for row in found])
        return {"x": np.array(seen[-1], np.float32)[:, None], "labels": np.array(seen[-1])}

    data = datasets.Dataset.from_dict({"x": list(range(10))})
    options = {"num_epochs": 2, "seed": 7, "data_collator": collate, "remove_unused_columns": False}
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    batches = training_batches(data, 4, model=model, **options).dataset
    model.compile("sgd", "mse")
    model.fit(batches, verbose=0)
    assert seen[-6:] == ORDER_OF_TEN


def test_evaluation_and_prediction():
    x, y = arrays()
    model = make_model({"x": 3})
    ours = model.evaluate(evaluation_batches((x, y), 4, model=model).dataset, verbose=0)
    np.testing.assert_allclose(ours, model.evaluate(x, y, 4, verbose=0), rtol=1e-6)
    predicted = model.predict(evaluation_batches(x, 4, model=model).dataset, verbose=0)
    np.testing.assert_allclose(predicted, model.predict(x, 4, verbose=0), rtol=1e-6)
