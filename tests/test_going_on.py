"""What stands between ``restore`` and the training that goes on: other calls, fits that fail, data of every kind.

Each is compared with the same training that nothing has happened to.
"""

from __future__ import annotations

import functools
import importlib
import random
import threading
import time
from collections.abc import Collection

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
from helpers import finish, history, nightly, train_rows

from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint, restore, training_batches
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import host_of
from tf_hfwb.resume.resume_position import resumption_of

NUMBER, BATCH_SIZE, EPOCHS = 64, 8, 3


def samples(width: int = 4):
    dice = np.random.default_rng(0)
    x = dice.normal(size=(NUMBER, width)).astype("float32")
    return {"x": x}, np.argmax(x[:, :3], axis=1)


def model_of(kind: str, **options):
    keras = importlib.import_module(kind)
    return tiny.functional(kind, dropout=0.2, optimizer=keras.optimizers.Adam(1e-2), **options)


def failing(kind: str, step: int):
    keras = importlib.import_module(kind)

    class Failing(keras.callbacks.Callback):
        seen = 0

        def on_train_batch_begin(self, batch, logs=None):
            self.seen += 1
            if self.seen == step:
                raise ArithmeticError("mine")

    return Failing()


# Each gives the arguments of fit, for a training that goes on at a position.


def arrays(kind, position, **options):
    x, y = samples()
    return {"x": x, "y": y, "batch_size": BATCH_SIZE, "shuffle": False, **options}


def arrays_in_odd_epochs(kind, position):
    """An epoch is no pass over the data."""
    return arrays(kind, position, steps_per_epoch=4)


def dataset(kind, position, **options):
    return {"x": tf.data.Dataset.from_tensor_slices(samples()).batch(BATCH_SIZE), **options}


def dataset_with_steps(kind, position):
    return dataset(kind, position, steps_per_epoch=NUMBER // BATCH_SIZE)


def stream(kind, position):
    """The user starts it."""
    batches = tf.data.Dataset.from_tensor_slices(samples()).batch(BATCH_SIZE).repeat()
    return {"x": batches.skip(position.batches), "steps_per_epoch": NUMBER // BATCH_SIZE}


def shuffled(kind, position):
    batches = training_batches(samples(), BATCH_SIZE, start_step=position.batches)
    return {"x": batches.dataset, "steps_per_epoch": batches.steps_per_epoch}


def sequence(kind, position):
    keras = importlib.import_module(kind)
    x, y = samples()

    class Batches(keras.utils.Sequence if kind == "tf_keras" else keras.utils.PyDataset):
        def __len__(self):
            return NUMBER // BATCH_SIZE

        def __getitem__(self, index):
            rows = slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE)
            return {"x": x["x"][rows]}, y[rows]

    return {"x": Batches(), "shuffle": False}


class Nowhere:
    batches = 0


def weights(model) -> list[np.ndarray]:
    optimizer = model.optimizer.variables
    return [np.array(v) for v in [*model.get_weights(), *(v.numpy() for v in optimizer)]]


def same(left, right) -> bool:
    return len(left) == len(right) and all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def checkpoints(output_dir="out"):
    return WandbModelCheckpoint(output_dir, save_freq=5)


@functools.cache
def straight(kind: str, data, spe: int):
    """Weights and history of the training that nothing happens to."""
    model = model_of(kind, steps_per_execution=spe)
    fitted = model.fit(**data(kind, Nowhere), epochs=EPOCHS, verbose=0, callbacks=[checkpoints("straight")])
    return weights(model), fitted.history


def fail(model, data, kind, position):
    """Fits that fail before their first step."""
    x, y = samples(width=5)
    with pytest.raises(Exception, match=r"(?i)shape|dimension|axis|incompatible|expected") as raised:
        model.fit(x, y, batch_size=BATCH_SIZE, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[checkpoints()])
    assert not isinstance(raised.value, SettingError)
    with pytest.raises(ArithmeticError):
        model.fit(**data(kind, position), epochs=EPOCHS, verbose=0, callbacks=[checkpoints(), failing(kind, 1)])


def look(model):
    x, y = samples()
    model.evaluate(x, y, batch_size=BATCH_SIZE, verbose=0)
    model.predict(x, verbose=0)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
@pytest.mark.parametrize(
    ("data", "spe", "stop"),
    [
        (arrays, 1, 13),
        nightly(shuffled, 1, 13),
        nightly(sequence, 1, 13),
        nightly(dataset_with_steps, 1, 13),
        nightly(arrays, 3, 13),
        nightly(dataset, 1, 13),
        nightly(dataset, 3, 13),
        nightly(stream, 1, 13),
        (arrays_in_odd_epochs, 1, 8),
    ],
)
def test_what_stands_between_does_not_matter(kind, data, spe, stop):
    expected, expected_history = straight(kind, data, spe)
    model = model_of(kind, steps_per_execution=spe)
    with pytest.raises(ArithmeticError):
        model.fit(
            **data(kind, Nowhere),
            epochs=EPOCHS,
            verbose=0,
            callbacks=[checkpoints(), failing(kind, 1 + -(-stop // spe))],
        )
    newest = Store("out").checkpoints()[-1].step
    assert newest > 5 or stop < 10

    other = model_of(kind, steps_per_execution=spe)
    if stop > 10:
        restore(other, "out/checkpoint-5" if spe == 1 else "out/checkpoint-6")
        fail(other, data, kind, Nowhere)
    position = restore(other, True, output_dir="out")
    assert position.step == newest
    look(other)
    fail(other, data, kind, position)
    look(other)
    assert resumption_of(other) is not None
    fitted = other.fit(**data(kind, position), epochs=EPOCHS, verbose=0, callbacks=[checkpoints()])
    assert same(weights(other), expected)
    for name, values in expected_history.items():
        assert fitted.history[name] == values[-len(fitted.history[name]) :]
    # And nothing is left of it.
    assert "fit" not in vars(other)
    assert resumption_of(other) is None
    assert other.fit(**data(kind, Nowhere), epochs=1, verbose=0).epoch == [0]


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_what_cannot_go_on_is_said_in_one_sentence(kind, caplog):
    keras = importlib.import_module(kind)
    x, y = samples()
    model = model_of(kind)
    model.fit(**arrays(kind, Nowhere), epochs=2, verbose=0, callbacks=[WandbModelCheckpoint("out", save_freq=4)])
    restore(model, "out/checkpoint-12")
    with pytest.raises(SettingError, match=r"shuffle=True .*batch 4 of an epoch.*training_batches"):
        model.fit(x, y, batch_size=BATCH_SIZE, epochs=3, verbose=0)
    model.train_on_batch({"x": x["x"][:8]}, y[:8])  # As without us.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    with pytest.raises(SettingError, match=r"compile has made another since.*restore again"):
        model.fit(**arrays(kind, Nowhere), epochs=3, verbose=0)
    restore(model, "out/checkpoint-12")
    host_of(model).set_optimizer(keras.optimizers.Adam(1e-2))  # As a TFTrainer that begins anew.
    assert "fit" not in vars(model)
    assert resumption_of(model) is None
    restore(model, "out/checkpoint-8")  # At an epoch's end any order will do.
    assert model.fit(x, y, batch_size=BATCH_SIZE, epochs=2, verbose=0).epoch == [1]
    restore(model, "out/checkpoint-16")
    before = model.get_weights()
    assert model.fit(x, y, batch_size=BATCH_SIZE, epochs=2, verbose=0).epoch == []
    assert "Nothing is left to train: epochs=2, and the checkpoint has 2." in caplog.text
    assert all(map(np.array_equal, before, model.get_weights()))
    assert model.fit(x, y, batch_size=BATCH_SIZE, epochs=1, verbose=0).epoch == [0]  # The next one is a new training.


# -- fits that fail ------------------------------------------------------------------------------------------------


def threads(others: Collection[threading.Thread] = ()) -> list[str]:
    """The names of the package's threads, but for those of earlier tests."""
    found = [thread for thread in threading.enumerate() if thread.name.startswith("tf_hfwb")]
    return [thread.name for thread in found if thread not in others]


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_fits_that_fail_leave_no_threads_and_lose_no_checkpoint(kind):
    """The cell of a notebook that is run again and again."""
    others = threading.enumerate()
    for turn in range(1, 4):
        model = model_of(kind)
        callbacks = [WandbMetricsLogger(2), WandbModelCheckpoint("out", save_freq=2), failing(kind, 2 * turn + 2)]
        position = restore(model, True, output_dir="out")
        assert position.step == turn * (turn - 1)
        with pytest.raises(ArithmeticError):
            model.fit(**arrays(kind, position), epochs=50, verbose=0, callbacks=callbacks)
        assert threads().count("tf_hfwb-checkpoints") <= 1
    Store("out").checkpoints()
    time.sleep(0.1)
    assert "tf_hfwb-checkpoints" not in threads()
    assert len(threads(others)) <= 2, threads(others)  # Of the run, which is still open.
    steps = [row["train/global_step"] for row in train_rows(history(finish()))]
    assert steps == list(range(2, len(steps) * 2 + 1, 2))
    assert threads(others) == []


WAYS_OUT = """
import sys
import numpy as np, tf_keras as keras
from tf_hfwb import WandbModelCheckpoint

class Ends(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            sys.exit(3) if sys.argv[1] == "exit" else 1 / 0

model = keras.Sequential([keras.layers.Input((16,)), keras.layers.Dense(50_000), keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(np.zeros((8, 16)), np.zeros((8, 1)), epochs=3, verbose=0, callbacks=[WandbModelCheckpoint("out"), Ends()])
"""


@pytest.mark.parametrize(("way", "status"), [("exit", 3), nightly("raise", 1)])
def test_what_was_taken_is_on_disk_after_every_way_out(way, status, launcher):
    ended = launcher.python(WAYS_OUT, way, check=False)
    assert ended.returncode == status, ended.stderr
    assert [checkpoint.step for checkpoint in Store("out").checkpoints()] == [1, 2]
    for checkpoint in Store("out").checkpoints():
        checkpoint.verify()


# -- random numbers -------------------------------------------------------------------------------------------------


def noisy(options):
    tf_keras.utils.set_random_seed(3)
    x = tf_keras.Input((4,), name="x")
    hidden = tf_keras.layers.GaussianNoise(0.1)(tf_keras.layers.Dense(8)(tf_keras.layers.Dropout(0.2)(x)))
    hidden = tf_keras.layers.Dropout(0.3)(tf_keras.layers.AlphaDropout(0.1)(hidden))
    model = tf_keras.Model({"x": x}, tf_keras.layers.Dense(3)(hidden))
    model.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True), **options)
    return model, arrays("tf_keras", Nowhere)


def bert(options):
    model = tiny.bert(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    model.compile("adam", **options)
    batches = training_batches(tiny.classified(24), 4, model=model, processing_class=tiny.tokenizer())
    return model, {"x": batches.dataset, "steps_per_epoch": batches.steps_per_epoch}


@pytest.mark.parametrize(
    ("build", "options"), [(noisy, {"steps_per_execution": 3}), nightly(noisy, {}), nightly(bert, {})]
)
def test_tf_keras_draws_what_it_would_draw_without_us(build, options):
    trained = []
    for callbacks in (list, lambda: [WandbModelCheckpoint("out", save_freq=2)]):
        model, data = build(options)
        state = random.getstate()
        model.fit(**data, epochs=2, verbose=0, callbacks=callbacks())
        assert random.getstate() == state
        trained.append(weights(model))
    assert same(*trained)
