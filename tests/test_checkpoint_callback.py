"""``WandbModelCheckpoint``, ``restore`` and ``load_model`` on plain ``fit``, within one process."""

from __future__ import annotations

import errno
import importlib
import json
import logging
import os
import pathlib
import re
import signal
import sys
import time
import uuid

import numpy as np
import pytest
import tf_keras
import tiny
import transformers
from helpers import finish, nightly, python, records

from tf_hfwb import (
    EarlyStopping,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    load_model,
    restore,
    training_batches,
    wandb_callbacks,
)
from tf_hfwb.checkpoint.known_checkpoints import KnownCheckpoints
from tf_hfwb.checkpoint.step_names import checkpoint_name
from tf_hfwb.checkpoint.store import Draft, Store
from tf_hfwb.errors import (
    ArtifactNotFoundError,
    CheckpointError,
    CheckpointWriteError,
    NotACheckpointError,
    SettingError,
    StateMismatchError,
)
from tf_hfwb.keras_compat import host_of


def data(number: int = 20, seed: int = 0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(number, 4)).astype("float32")
    return {"x": x}, np.argmax(x[:, :3], axis=1)


def model_of(kind: str, optimizer=None, **options):
    keras = importlib.import_module(kind)
    return tiny.functional(kind, dropout=0.2, optimizer=optimizer or keras.optimizers.Adam(1e-2), **options)


def train(model, callbacks, *, epochs=2, start=0, number=20):
    batches = training_batches(data(number), 4, model=model, start_step=start)
    return model.fit(
        batches.dataset,
        steps_per_epoch=batches.steps_per_epoch,
        epochs=epochs,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    )


def steps_in(directory) -> list[int]:
    return [checkpoint.step for checkpoint in Store(directory).checkpoints()]


def weights(model) -> list[np.ndarray]:
    return [np.array(weight) for weight in model.get_weights()]


def same(left, right) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


# -- when ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
@pytest.mark.parametrize(
    ("save_freq", "steps"),
    [("epoch", [5, 10]), (3, [3, 6, 9, 10]), nightly(5, [5, 10]), nightly(1, list(range(1, 11)))],
)
def test_saves_at_every_multiple_and_at_the_last_step(kind, save_freq, steps):
    train(model_of(kind), [WandbModelCheckpoint("out", save_freq=save_freq)])
    assert steps_in("out") == steps
    for checkpoint in Store("out").checkpoints():
        checkpoint.verify()
        facts = checkpoint.read_json("trainer_state.json")
        batches = facts["position"]["batches"]
        assert (facts["position"]["epoch"], facts["position"]["batch"]) == divmod(batches, 5)
        assert checkpoint.step == facts["global_step"] == batches
        assert facts["epoch"] == pytest.approx(batches / 5)


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_only_the_better_ones_and_a_limit(kind):
    model = model_of(kind)
    values = [0.5, 0.6, 0.4, float("nan"), 0.4, 0.0, 0.3]
    callback = WandbModelCheckpoint("out", monitor="val_loss", save_best_only=True)
    train(model, [evaluated(model, "val_loss", values), callback], epochs=len(values))
    assert steps_in("out") == [5, 15, 30]
    assert (callback.best, callback.best_checkpoint) == (0.0, pathlib.Path("out/checkpoint-30").absolute())

    callback = WandbModelCheckpoint("limited", monitor="eval/loss", save_total_limit=2)
    train(model_of(kind), [evaluated(model, "val_loss", [0.5, 0.1, 0.6, 0.7]), callback], epochs=4)
    assert steps_in("limited") == [10, 20]


def evaluated(model, name, values, kind=None):
    """What a validation adds to the logs of each epoch."""
    module = importlib.import_module(kind or type(model).__module__.partition(".")[0])

    class Evaluated(module.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs[name] = values[epoch]

    return Evaluated()


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize("frequency", [2, nightly([2, 4])])
def test_epochs_that_are_not_validated_are_no_alarm(kind, frequency, caplog):
    model, (x, y) = model_of(kind), data(16)
    checkpoints = WandbModelCheckpoint("out", monitor="val_loss", save_freq=8)
    others = [evaluated(model, "val_other", [0.5, 0.4, 0.3, 0.2])] if frequency == 2 else []
    callbacks = [*others, EarlyStopping("val_loss", patience=9), checkpoints]
    options = {"validation_data": (x, y), "validation_freq": frequency}
    model.fit(x, y, batch_size=4, epochs=4, callbacks=callbacks, verbose=0, **options)
    assert steps_in("out") == [8, 16]
    assert checkpoints.best is not None
    assert not [record for record in caplog.records if record.name == "tf_hfwb"]
    model.fit(x, y, batch_size=4, epochs=4, callbacks=[EarlyStopping("val_los")], verbose=0, **options)
    assert "is not known at step 24" in caplog.text


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": "val_los"}, "eval/los is not among the metrics at step 5: eval/loss, train/accuracy, train/loss"),
        ({"monitor": "val_loss", "save_freq": 3}, "eval/loss is measured at step 5, and saved is at others, such as 3"),
        nightly({"monitor": "val_loss"}, None),
        nightly({"monitor": "loss", "save_best_only": True}, None),
        ({"monitor": "val_loss", "save_freq": 10}, None),
        nightly({"monitor": "val_loss", "save_freq": 1}, None),
    ],
)
def test_a_metric_that_tells_nothing_is_said_once(kind, options, message, caplog):
    model = model_of(kind)
    train(model, [evaluated(model, "val_loss", [0.5, 0.4, 0.3]), WandbModelCheckpoint("out", **options)], epochs=3)
    said = [record.getMessage() for record in caplog.records if "Which checkpoint is the best" in record.getMessage()]
    assert [text.startswith(message) for text in said] == [True] * (message is not None)


def test_a_second_fit_goes_on_beside_the_first_ones_checkpoints():
    model = model_of("keras")
    for _ in range(2):
        train(model, [WandbModelCheckpoint("out")], epochs=1)
    assert steps_in("out") == [5, 10]


# -- artifacts -----------------------------------------------------------------------------------------------------


def logged(directory) -> list[dict]:
    return [record["artifact"] for record in records(directory) if record["type"] == "artifact"]


@pytest.mark.parametrize(
    ("mode", "monitor", "values", "best"),
    [
        ("auto", "val_accuracy", [0.5, 0.4, float("nan"), 0.6, 0.6], [5, 20]),
        nightly("auto", "val_loss", [0.0, 0.1, 0.0, -1.0, 5.0], [5, 20]),
        ("max", "eval_score", [float("nan"), 0.0, 0.0, -1.0, 0.1], [10, 25]),
    ],
)
def test_best_sits_on_the_best(mode, monitor, values, best, monkeypatch):
    monkeypatch.setenv("WANDB_LOG_MODEL", "checkpoint")
    monkeypatch.setenv("WANDB_NAME", "org/run")
    model = model_of("tf_keras")
    callback = WandbModelCheckpoint("out", monitor=monitor, mode=mode)
    train(model, [WandbMetricsLogger(), evaluated(model, monitor, values), callback], epochs=5)
    row = f"eval/{monitor.partition('_')[2]}"
    versions = logged(finish())
    assert [version["name"] for version in versions] == ["checkpoint-org-run"] * 5 + ["model-org-run"]
    aliases = [set(version["aliases"]) for version in versions]
    assert [step for step, names in zip(range(5, 30, 5), aliases, strict=False) if "best" in names] == best
    assert aliases[0] >= {"latest", "step-5", "epoch-1.00"}
    assert aliases[-1] == {"latest", "final"}
    metadata = [json.loads(version["metadata"]) for version in versions]
    assert metadata[0]["global_step"] == 5
    assert metadata[0]["num_parameters"] == model.count_params()
    assert metadata[3]["monitor_value"] == metadata[3][row] == values[3]
    assert metadata[0]["run_id"]
    assert metadata[0]["format_version"] == 1

    # Offline the names lead to the directories.
    found = restore(model_of("tf_keras"), "checkpoint-org-run:best")
    assert found.step == best[-1]
    assert restore(model_of("tf_keras"), "checkpoint-org-run:latest").step == 25
    assert same(weights(load_model("model-org-run:final")), weights(model))
    with pytest.raises(ArtifactNotFoundError, match=r"checkpoint-org-run.*model-org-run|model-org-run"):
        load_model("model-other:best")


@pytest.mark.parametrize(
    ("before", "now", "is_kept"),
    [
        ({"monitor": "val_accuracy"}, {"monitor": "val_loss"}, False),
        nightly({"monitor": "val_x", "mode": "max"}, {"monitor": "val_x", "mode": "min"}, False),
        nightly({"monitor": "val_x", "mode": "max"}, {"monitor": "eval/x", "mode": "max"}, True),
        nightly({"monitor": "val_x", "mode": "max"}, {}, False),
    ],
)
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_the_best_by_another_metric_is_not_the_best_of_a_resumed_training(kind, before, now, is_kept, caplog):
    def fit(options, values, start):
        model = model_of(kind)
        position = restore(model, "out/checkpoint-5") if start else None
        logs = [evaluated(model, name, values) for name in ("val_accuracy", "val_loss", "val_x")]
        callback = WandbModelCheckpoint("out", save_best_only="monitor" in options, **options)
        train(model, [*logs, callback], epochs=len(values), start=position.batches if start else 0)
        return callback

    assert fit(before, [0.8], start=False).best == 0.8
    resumed = fit(now, [0.8, 0.9, 0.85, 0.7], start=True)
    said = [record.getMessage() for record in caplog.records if "is decided anew" in record.getMessage()]
    if is_kept:
        assert (resumed.best, steps_in("out"), said) == (0.9, [5, 10], [])
    else:
        # Of those that are measured since the resume, and not of those before.
        assert (resumed.best, steps_in("out")) == ((0.7, [5, 10, 15, 20]) if now else (None, [5, 10, 15, 20]))
        assert re.match(r"The checkpoint of step 5 was the best by eval/\w+ \(mode='max'\), and now .* is m", said[0])


def test_modes_of_logging(monkeypatch):
    train(model_of("keras"), [WandbModelCheckpoint("false")])
    assert not pathlib.Path("wandb").exists()
    train(model_of("keras"), [WandbModelCheckpoint("end", log_model="end", artifact_name="mine")])
    assert [version["name"] for version in logged(finish())] == ["model-mine"]
    with pytest.raises(SettingError, match="checkpoint"):
        WandbModelCheckpoint("out", log_model="sometimes")
    with pytest.raises(SettingError, match="org-name"):
        WandbModelCheckpoint("out", artifact_name="org/name")


@pytest.mark.nightly
def test_a_name_does_not_lead_to_what_another_training_wrote():
    for name in ("first", "second"):
        model = model_of("keras")
        train(
            model,
            [WandbModelCheckpoint("out", log_model="end", artifact_name=name)],
            number=20 if name == "first" else 12,
        )
        finish()
    assert same(weights(load_model("model-second:final")), weights(model))
    with pytest.raises(ArtifactNotFoundError, match=r"holds something else by now"):
        load_model("model-first:final")


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_ends_with_the_best_weights(kind):
    model = model_of(kind)
    callback = WandbModelCheckpoint("out", monitor="val_loss", load_best_at_end=True, log_model="end")
    train(model, [evaluated(model, "val_loss", [0.5, 0.1, 0.6]), callback], epochs=3)
    assert same(weights(model), weights(load_model("out/checkpoint-10")))
    (version,) = logged(finish())
    assert set(version["aliases"]) == {"latest", "final", "best"}


# -- going on --------------------------------------------------------------------------------------------------------


OPTIMIZERS = {
    "tf_keras": {
        "adam": lambda: tf_keras.optimizers.Adam(1e-2),
        "adamw_ema": lambda: tf_keras.optimizers.AdamW(1e-2, weight_decay=0.01, use_ema=True),
        "sgd_schedule": lambda: tf_keras.optimizers.SGD(
            tf_keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.9), momentum=0.9
        ),
        "legacy_adam": lambda: tf_keras.optimizers.legacy.Adam(1e-2),
        "legacy_sgd": lambda: tf_keras.optimizers.legacy.SGD(1e-2, momentum=0.9),
        "transformers": lambda: transformers.create_optimizer(1e-2, 50, 5, weight_decay_rate=0.01)[0],
        "loss_scale": lambda: tf_keras.mixed_precision.LossScaleOptimizer(
            tf_keras.optimizers.Adam(1e-2), initial_scale=2.0**10, dynamic_growth_steps=3
        ),
        "legacy_loss_scale": lambda: tf_keras.mixed_precision.LossScaleOptimizer(
            tf_keras.optimizers.legacy.Adam(1e-2), initial_scale=2.0**10, dynamic_growth_steps=3
        ),
    },
    "keras": {
        "adam": lambda: importlib.import_module("keras").optimizers.Adam(1e-2),
        "adamw_ema": lambda: importlib.import_module("keras").optimizers.AdamW(1e-2, use_ema=True),
        "accumulating": lambda: importlib.import_module("keras").optimizers.Lion(1e-2, gradient_accumulation_steps=2),
        "loss_scale": lambda: importlib.import_module("keras").optimizers.LossScaleOptimizer(
            importlib.import_module("keras").optimizers.RMSprop(1e-2), initial_scale=2.0**10, dynamic_growth_steps=3
        ),
    },
}
NIGHTLY = [("keras", "adam"), *(("tf_keras", name) for name in ("adam", "adamw_ema", "sgd_schedule", "legacy_adam"))]
NIGHTLY += [("tf_keras", "legacy_loss_scale"), ("keras", "loss_scale")]
CASES = [
    (nightly if (kind, name) in NIGHTLY else pytest.param)(kind, name)
    for kind, names in OPTIMIZERS.items()
    for name in names
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_goes_on_as_if_nothing_had_happened(kind, name):
    """Straight, and from a checkpoint in the middle of the last epoch into a model that is a stranger to it."""
    make = OPTIMIZERS[kind][name]
    straight = model_of(kind, make())
    history = train(straight, [WandbModelCheckpoint("out", save_freq=1)])
    step = [step for step in steps_in("out") if step < steps_in("out")[-1]][-1]

    other = model_of(kind, make())
    other.set_weights([weight + 1 for weight in other.get_weights()])
    position = restore(other, f"out/checkpoint-{step}")
    assert position.step == step
    assert 5 < position.batches < 10
    assert position.epoch == 1
    resumed = train(other, [WandbModelCheckpoint("again", save_freq=1)], start=position.batches)
    assert same(weights(straight), weights(other))
    variables = [model.optimizer.variables for model in (straight, other)]
    values = [[np.array(v) for v in (some() if callable(some) else some)] for some in variables]
    assert same(*values)
    assert {key: found[-1] for key, found in history.history.items()} == {
        key: found[-1] for key, found in resumed.history.items()
    }
    assert steps_in("again") == [found for found in steps_in("out") if found > step]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_goes_on_twice_within_an_epoch_and_at_its_end(kind):
    straight = model_of(kind)
    train(straight, [WandbModelCheckpoint("out", save_freq=1)], epochs=3)
    for stops in ((6, 7), (5,), (5, 10), (1, 2, 3)):
        position, model = None, None
        for stop in stops:
            model = model_of(kind)
            position = restore(model, f"out/checkpoint-{stop}")
            assert position.step == stop
        train(model, [], epochs=3, start=position.batches)
        assert same(weights(straight), weights(model)), stops


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_the_next_fit_begins_anew(kind):
    model = model_of(kind)
    train(model, [WandbModelCheckpoint("out", save_freq=7)])
    other = model_of(kind)
    position = restore(other, "out/checkpoint-7")
    assert len(train(other, [], start=position.batches).epoch) == 1
    assert train(other, []).epoch == [0, 1]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_epochs_of_another_length_are_told(kind, caplog):
    train(model_of(kind), [WandbModelCheckpoint("out", save_freq=7)], epochs=3)
    for number, expected in ((20, 0), (24, 1)):
        model = model_of(kind)
        position = restore(model, "out/checkpoint-7")
        train(model, [WandbModelCheckpoint("again", save_freq=7)], epochs=3, start=position.batches, number=number)
        assert caplog.text.count("with epochs of 6 batches, which were of 5") == expected
        assert caplog.text.count("with epochs of") == expected


def test_nothing_to_restore():
    model = model_of("keras")
    assert not restore(model, True, output_dir="nowhere")
    with pytest.raises(SettingError, match="output_dir"):
        restore(model, True)
    with pytest.raises(NotACheckpointError, match="nowhere"):
        restore(model, "nowhere")
    with pytest.raises(SettingError, match="source=3"):
        restore(model, 3)
    pathlib.Path("empty").mkdir()
    with pytest.raises(NotACheckpointError, match="empty"):
        restore(model, "empty")


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_what_does_not_fit_is_refused_and_changes_nothing(kind):
    keras = importlib.import_module(kind)
    train(model_of(kind), [WandbModelCheckpoint("out", save_freq=7)])
    other_optimizer = model_of(kind, keras.optimizers.SGD(1e-2))
    before = weights(other_optimizer)
    with pytest.raises(StateMismatchError, match=r"optimizer of .*checkpoint-7.* do not fit.*not in the model"):
        restore(other_optimizer, "out/checkpoint-7")
    assert same(before, weights(other_optimizer))

    x = keras.Input((4,), name="x")
    wide = keras.Model({"x": x}, keras.layers.Dense(3)(keras.layers.Dense(9)(x)))
    wide.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(StateMismatchError, match="weights"):
        restore(wide, "out/checkpoint-7")

    more_metrics = model_of(kind, metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)])
    position = restore(more_metrics, "out/checkpoint-7")
    with pytest.raises(StateMismatchError, match="metrics of"):
        train(more_metrics, [], start=position.batches)

    uncompiled = keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(SettingError, match="compile"):
        restore(uncompiled, "out/checkpoint-7")
    uncompiled.compile("adam", "mse")
    with pytest.raises(SettingError, match="built"):
        restore(uncompiled, "out/checkpoint-7")


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_other_data_is_refused_before_any_time_is_spent(kind):
    train(model_of(kind), [WandbModelCheckpoint("out", save_freq=4)], epochs=1)
    model = model_of(kind)
    position = restore(model, "out/checkpoint-4")
    with pytest.raises(SettingError, match="more than 4"):
        train(model, [], number=12, start=position.batches % 3)
    model = model_of(kind)
    restore(model, "out/checkpoint-4")
    x, y = data()
    generated = importlib.import_module("tensorflow").data.Dataset.from_generator(
        lambda: iter([(x["x"][:4], y[:4])] * 5),
        output_types=("float32", "int64"),
        output_shapes=((None, 4), (None,)),
    )
    with pytest.raises(SettingError, match="steps_per_epoch"):
        model.fit(generated, epochs=2, verbose=0)


# -- the directory ---------------------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_stock_tools_open_a_checkpoint_of_transformers():
    model = tiny.bert()
    model.compile(tf_keras.optimizers.Adam(1e-3))
    tokenizer = tiny.tokenizer()
    batches = training_batches(tiny.classified(), 4, model=model, processing_class=tokenizer)
    model.fit(
        batches.dataset,
        steps_per_epoch=batches.steps_per_epoch,
        callbacks=[WandbModelCheckpoint("out", processing_class=tokenizer)],
        verbose=0,
    )
    directory = "out/checkpoint-3"
    stock = transformers.TFAutoModelForSequenceClassification.from_pretrained(directory)
    assert same(weights(stock), weights(model))
    assert transformers.AutoTokenizer.from_pretrained(directory)("the cat") == tokenizer("the cat")
    assert same(weights(load_model(directory)), weights(model))


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_stock_keras_opens_a_checkpoint(kind, recwarn):
    keras = importlib.import_module(kind)
    model = model_of(kind)
    train(model, [WandbModelCheckpoint("out")], epochs=1)
    stock = keras.models.load_model("out/checkpoint-5/model.keras")
    x, y = data()
    assert np.array_equal(stock.predict(x["x"], verbose=0), model.predict(x["x"], verbose=0))
    assert stock.evaluate(x["x"], y, verbose=0) == model.evaluate(x["x"], y, verbose=0)


def frozen_bert():
    model = tiny.bert()
    model.bert.trainable = False
    return model


def frozen_keras():
    import keras

    model = model_of("keras")
    model.layers[1].trainable = False
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


@pytest.mark.nightly
def test_frozen_weights_are_linked_and_not_written():
    model = frozen_bert()
    model.compile(tf_keras.optimizers.Adam(1e-3))
    batches = training_batches(tiny.classified(), 4, model=model, processing_class=tiny.tokenizer())
    model.fit(
        batches.dataset,
        steps_per_epoch=3,
        epochs=2,
        callbacks=[WandbModelCheckpoint("out", save_total_limit=1)],
        verbose=0,
    )
    model.fit(batches.dataset, steps_per_epoch=3, callbacks=[WandbModelCheckpoint("out")], verbose=0)
    first, second = (pathlib.Path("out") / f"checkpoint-{step}" for step in (6, 9))
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert os.path.samefile(first / shards[0], second / shards[0])
    assert not os.path.samefile(first / shards[1], second / shards[1])
    assert os.path.samefile(first / "config.json", second / "config.json")
    stock = transformers.TFAutoModelForSequenceClassification.from_pretrained(second)
    assert same(weights(stock), weights(model))
    restored = frozen_bert()
    restored.compile(tf_keras.optimizers.Adam(1e-3))
    assert restore(restored, second).step == 9
    assert same(weights(restored), weights(model))


@pytest.mark.parametrize(
    ("make", "shard"),
    [(frozen_bert, "model-00001-of-00002.safetensors"), (frozen_keras, "model_00000.weights.h5")],
)
def test_frozen_weights_are_hashed_with_rests(make, shard, monkeypatch):
    host = host_of(make())
    files, store, hashed = host.model_files(), Store("out"), []

    def save(step, previous, pace=None):
        values = {name: np.asarray(variable) for name, variable in files.variables.items()}
        with store.draft(checkpoint_name(step), pace) as draft:
            files.write(draft, values | files.compute_values(), previous)
            return draft.commit()

    first = save(1, None)
    monkeypatch.setattr("tf_hfwb.checkpoint.digests.CHUNK", 256)  # Files that are written count by larger pieces.
    second = save(2, first, hashed.append)
    assert os.path.samefile(first.path / shard, second.path / shard)
    assert sum(hashed) > second.files[shard].size - 256


def test_frozen_weights_of_keras_3_are_linked_too():
    import keras

    model = frozen_keras()
    train(model, [WandbModelCheckpoint("out")])
    first, second = (pathlib.Path("out") / f"checkpoint-{step}" for step in (5, 10))
    shards = ["model_00000.weights.h5", "model_00001.weights.h5"]
    assert os.path.samefile(first / shards[0], second / shards[0])
    assert not os.path.samefile(first / shards[1], second / shards[1])
    stock = keras.models.model_from_json((second / "config.json").read_text())
    stock.load_weights(second / "model.weights.json")
    assert same(weights(stock), weights(model))
    assert same(weights(load_model(second)), weights(model))
    other = frozen_keras()
    assert restore(other, second).step == 10
    assert same(weights(other), weights(model))


def test_a_damaged_checkpoint_is_passed_over_aloud(caplog):
    train(model_of("keras"), [WandbModelCheckpoint("out", save_freq=4)])
    file = pathlib.Path("out/checkpoint-10/training_state.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 4
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert restore(model_of("keras"), True, output_dir="out").step == 8
    assert "checkpoint-10" in caplog.text
    assert "checkpoint-8" in caplog.text
    with pytest.raises(CheckpointError, match="SHA-256"):
        restore(model_of("keras"), "out/checkpoint-10")
    for checkpoint in Store("out").checkpoints():
        (checkpoint.path / "manifest.json").write_text("")
    with caplog.at_level(logging.WARNING):
        assert not restore(model_of("keras"), True, output_dir="out")
    assert "fresh start" in caplog.text


# -- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_further_optimizers_are_not_forgotten_in_silence(kind, caplog):
    model = model_of(kind)
    train(model, [WandbModelCheckpoint("out")], epochs=1)
    assert "further optimizers" not in caplog.text
    model.discriminator_optimizer = importlib.import_module(kind).optimizers.SGD()
    train(model, [WandbModelCheckpoint("out")], epochs=1)
    assert "further optimizers (discriminator_optimizer)" in caplog.text


def ruin(kind: str, step: int):
    keras = importlib.import_module(kind)

    class Ruin(keras.callbacks.Callback):
        """A disk that fails in the middle."""

        def on_train_batch_end(self, batch, logs=None):
            if batch == step:
                os.rename("out", f"gone-{uuid.uuid4().hex}")  # At once: the writer may be writing into it.
                pathlib.Path("out").write_text("in the way")

    return Ruin()


def test_a_failing_disk_does_not_stop_training(caplog):
    model = model_of("tf_keras")
    callbacks = [ruin("tf_keras", 2), WandbModelCheckpoint("out", save_freq=1)]
    with caplog.at_level(logging.WARNING):
        train(model, callbacks, epochs=1)
    assert model.optimizer.iterations.numpy() == 5
    assert "could not be written" in caplog.text
    assert "Training goes on" in caplog.text
    assert "checkpoints could not be written to out" in caplog.text


def test_a_failing_disk_stops_training_if_asked_to():
    callbacks = [ruin("tf_keras", 2), WandbModelCheckpoint("out", save_freq=1, stop_on_error=True)]
    with pytest.raises(CheckpointWriteError, match="out"):
        train(model_of("tf_keras"), callbacks, epochs=3)


@pytest.mark.parametrize(("kind", "look"), [(Store, "newest_good"), nightly(KnownCheckpoints, "whole")])
def test_a_disk_that_fails_while_older_checkpoints_are_looked_for(kind, look, monkeypatch):
    def fail(self):
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory")

    monkeypatch.setattr(kind, look, fail)
    checkpoints = WandbModelCheckpoint("out", save_freq=1, save_total_limit=1, stop_on_error=True)
    with pytest.raises(CheckpointWriteError, match=r"out.* could not be written: Not a directory"):
        train(model_of("tf_keras"), [checkpoints], epochs=3)


def test_a_directory_that_cannot_be_written_is_refused_at_once():
    pathlib.Path("file").write_text("")
    model = model_of("keras")
    with pytest.raises(CheckpointWriteError, match="file"):
        train(model, [WandbModelCheckpoint("file/out")])
    assert int(model.optimizer.iterations.numpy()) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"save_freq": 0}, "save_freq=0"),
        ({"save_freq": "steps"}, "epoch"),
        ({"mode": "best"}, "auto"),
        ({"save_total_limit": 0}, "save_total_limit=0"),
        ({"save_total_limit": True}, "save_total_limit=True"),
        ({"monitor": 5}, "monitor=5"),
        ({"save_best_only": True}, "monitor"),
        ({"load_best_at_end": True}, "monitor"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(SettingError, match=message):
        WandbModelCheckpoint("out", **options)


def test_handlers_are_given_back_and_notebooks_are_left_alone(monkeypatch):
    before = [signal.SIG_DFL, signal.default_int_handler]
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
        signal.signal(number, handler)
    seen = []

    class Look(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(signal.getsignal(signal.SIGTERM))

    train(model_of("tf_keras"), [WandbModelCheckpoint("out"), Look()], epochs=1)
    assert seen[-1] is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    train(model_of("tf_keras"), [WandbModelCheckpoint("again"), Look()], epochs=1)
    assert seen[-1] == before[0]


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_a_signal_whose_save_fails(kind, caplog, monkeypatch):
    keras = importlib.import_module(kind)
    commit = Draft.commit

    def failing(draft):
        if "checkpoint-4-" in draft.path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return commit(draft)

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Draft, "commit", failing)
    with pytest.raises(SystemExit):
        train(model_of(kind), [Interrupt(), WandbModelCheckpoint("out", save_freq=3)])
    assert steps_in("out") == [3]
    assert "No space left" in caplog.text
    assert "Training goes on" not in caplog.text
    assert f"Step 4 is not saved. The newest checkpoint is {os.path.join('out', 'checkpoint-3')}" in caplog.text


def test_names_of_what_is_no_checkpoint(caplog, recwarn):
    model = model_of("keras")
    train(model, [WandbModelCheckpoint("out", log_model="checkpoint", artifact_name="run")], epochs=1)
    finish()
    with pytest.raises(NotACheckpointError, match=r"model-run:final is a model without the state.*checkpoint-.*load_m"):
        restore(model_of("keras"), "model-run:final")
    assert same(weights(load_model("checkpoint-run")), weights(model))  # Of the latest version.
    assert same(weights(load_model("model-run")), weights(model))
    assert not [warning for warning in recwarn if "Skipping variable loading" in str(warning.message)]
    with pytest.raises(NotACheckpointError, match="checkpoint-other holds no model"):
        load_model("checkpoint-other")
    state = pathlib.Path("out/checkpoint-5/training_state.safetensors")
    state.write_bytes(state.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError):
        restore(model_of("keras"), "out")
    assert "fresh start" not in caplog.text
    assert not restore(model_of("keras"), True, output_dir="out")
    assert "Instead a fresh start is made." in caplog.text


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_waiting_for_the_disk_is_said_when_it_is_noticeable(kind, caplog, capsys, monkeypatch):
    commit = Draft.commit
    monkeypatch.setattr(Draft, "commit", lambda draft: time.sleep(0.1) or commit(draft))
    model = model_of(kind)
    train(model, [WandbModelCheckpoint("out", save_freq=1)], epochs=1)  # Nobody's concern.
    assert not caplog.records
    monkeypatch.setattr("tf_hfwb.fit.checkpoint_saver.NOTICEABLE", (0.15, 0.05))
    monkeypatch.setenv("PYCHARM_HOSTED", "1")  # Keras draws its bar as on a terminal.
    monkeypatch.setattr(logging.getLogger("tf_hfwb"), "handlers", [logging.StreamHandler(sys.stdout)])
    capsys.readouterr()
    callbacks = [WandbModelCheckpoint("new", save_freq=1)]
    model.fit(*data(), batch_size=4, epochs=2, verbose=1, callbacks=callbacks)
    (said,) = [record.getMessage() for record in caplog.records if record.name == "tf_hfwb"]
    assert re.match(r"Checkpoints are made faster .*: training has waited 0 of its \d+ s for the disk so far\.", said)
    before = capsys.readouterr().out.partition(said)[0]
    assert "/5" in before  # The progress bar,
    assert before.endswith("\n")  # on a line of its own.


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_states_that_nobody_takes_over_are_told_of(kind, caplog):
    keras = importlib.import_module(kind)

    def callbacks(*own):
        return wandb_callbacks("out", callbacks=[evaluated(None, "val_x", [0.5, 0.6, 0.4], kind), *own])

    class Stopping(keras.callbacks.EarlyStopping):
        """Counts as Keras's own."""

    def guest(metric="val_x"):
        return Stopping(metric, mode="min", patience=5)

    train(model_of(kind), callbacks(EarlyStopping("val_x", patience=5), guest()), epochs=2)
    for chosen, names in (
        (callbacks(EarlyStopping("val_x", patience=5), guest()), []),
        (callbacks(EarlyStopping("val_x", patience=5)), ["Keras's EarlyStopping-0"]),
        (callbacks(EarlyStopping("val_x", patience=5), guest("val_other")), ["Keras's EarlyStopping-0"]),
        (callbacks(guest()), ["EarlyStopping-eval/x-0"]),
        ([], ["WandbMetricsLogger, EarlyStopping-eval/x-0, GuestStates, WandbModelCheckpoint"]),
    ):
        caplog.clear()
        model = model_of(kind)
        position = restore(model, "out/checkpoint-10")
        train(model, chosen, epochs=3, start=position.batches)
        said = [record.getMessage() for record in caplog.records if "no callback of this fit" in record.getMessage()]
        assert len(said) == len(names), said
        for one, name in zip(said, names, strict=True):
            assert f"checkpoint-10 holds the state of {name}, which no callback of this fit takes over" in one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_dir": ""}, "output_dir=''.*the directory.*Pass 'checkpoints'"),
        ({"output_dir": "  "}, "output_dir='  '"),
        ({"output_dir": None}, "output_dir=None"),
        ({"output_dir": b"out"}, "output_dir=b'out'"),
        ({}, "output_dir=''"),
        ({"output_dir": "ckpt/{epoch:02d}"}, r"output_dir='ckpt/\{epoch:02d\}'.*without \{epoch\}: each.*'checkpoint-"),
        ({"output_dir": pathlib.Path("{epoch}-{val_loss:.2f}.keras")}, r"without \{epoch\}"),
        ({"filepath": "models/{epoch:02d}"}, "filepath='models/.*Pass a directory instead, output_dir='checkpoints'"),
        ({"output_dir": "out", "save_weights_only": True}, "save_weights_only=True.*Pass save_only_model=True"),
        ({"output_dir": "out", "verbose": 1}, "verbose=1.*Leave it out"),
        ({"output_dir": "out", "initial_value_threshold": 0.1}, "initial_value_threshold=0.1.*Leave it out"),
    ],
)
def test_what_is_no_directory_and_arguments_of_others(arguments, message):
    with pytest.raises(SettingError, match=message):
        WandbModelCheckpoint(**arguments)
    assert not any(path.name != "wandb" for path in pathlib.Path().iterdir())
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'monitors'"):
        WandbModelCheckpoint("out", monitors="val_loss")
    assert WandbModelCheckpoint("out/a}b{")._options.output_dir == "out/a}b{"


JAX = """
import numpy as np, keras, sys
sys.path[:0] = {path!r}
import test_checkpoint_callback as test
from tf_hfwb import WandbModelCheckpoint, restore
straight = test.model_of("keras")
history = test.train(straight, [WandbModelCheckpoint("out", save_freq=7)])
other = test.model_of("keras")
position = restore(other, "out/checkpoint-7")
resumed = test.train(other, [WandbModelCheckpoint("again", save_freq=1)], start=position.batches)
assert test.same(test.weights(straight), test.weights(other))
assert history.history["loss"][-1] == resumed.history["loss"][-1], (history.history, resumed.history)
assert test.steps_in("again") == [8, 9, 10]
print(keras.backend.backend())
"""


@pytest.mark.nightly
def test_on_jax():
    pytest.importorskip("jax")
    path = [str(pathlib.Path(__file__).parent)]
    assert python("-c", JAX.format(path=path), KERAS_BACKEND="jax").stdout.split()[-1] == "jax"
