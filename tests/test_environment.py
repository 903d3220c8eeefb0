"""``wandb_callbacks``: what the environment asks for, in an order that works; other orders are refused."""

from __future__ import annotations

import importlib
import pathlib

import keras
import numpy as np
import pytest
import tf_keras
import wandb
import wandb.integration.keras
from helpers import KERASES, classifier, finish, history, nightly, records, samples

from tf_hfwb import (
    ComputeMetrics,
    EarlyStopping,
    WandbEvalTable,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    WandbWatch,
    wandb_callbacks,
)
from tf_hfwb.errors import SettingError


def names(callbacks) -> list[str]:
    return [type(callback).__name__ for callback in callbacks]


@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({}, {}, ["WandbMetricsLogger"]),
        ({"WANDB_WATCH": "all"}, {}, ["WandbMetricsLogger", "WandbWatch"]),
        ({"WANDB_LOG_MODEL": "end"}, {}, ["WandbMetricsLogger", "KerasCallbackStates", "WandbModelCheckpoint"]),
        ({}, {"output_dir": "out"}, ["WandbMetricsLogger", "KerasCallbackStates", "WandbModelCheckpoint"]),
        (
            {"WANDB_LOG_MODEL": "checkpoint", "WANDB_WATCH": "gradients"},
            {"log_freq": 10},
            ["WandbMetricsLogger", "WandbWatch", "KerasCallbackStates", "WandbModelCheckpoint"],
        ),
    ],
)
def test_the_environment_decides(environment, arguments, expected, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert names(wandb_callbacks(**arguments)) == expected


@pytest.mark.parametrize("package", [tf_keras, keras])
def test_a_list_in_a_wrong_order_is_put_right(package):
    data = samples(8)
    mine = [
        WandbModelCheckpoint("out"),
        EarlyStopping("val_right", patience=1),
        package.callbacks.EarlyStopping("val_right"),
        WandbEvalTable(data),
        package.callbacks.ReduceLROnPlateau("val_right"),
        ComputeMetrics(lambda prediction: {"right": 1.0}, data),
        WandbWatch(),
        WandbMetricsLogger(),
    ]
    ordered = wandb_callbacks(callbacks=mine)
    assert names(ordered) == [
        "WandbMetricsLogger",
        "WandbWatch",
        "ComputeMetrics",
        "EarlyStopping",
        "ReduceLROnPlateau",
        "WandbEvalTable",
        "EarlyStopping",
        "KerasCallbackStates",
        "WandbModelCheckpoint",
    ]
    assert ordered[3] is mine[2]
    assert ordered[6] is mine[1]
    assert {id(callback) for callback in mine} < {id(callback) for callback in ordered}


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_all_of_them_in_one_fit(kind, monkeypatch):
    monkeypatch.setenv("WANDB_WATCH", "all")
    monkeypatch.setenv("WANDB_LOG_MODEL", "end")
    model, (x, y) = classifier(kind, learning_rate=0.1), samples(40)
    right = ComputeMetrics(lambda p: {"right": float((p.predictions.argmax(-1) == p.label_ids).mean())}, (x, y))
    stopping = EarlyStopping("val_right", patience=1, min_delta=1.0)
    callbacks = wandb_callbacks("out", callbacks=[stopping, WandbEvalTable((x, y), num_samples=2), right])
    for callback in callbacks:
        if isinstance(callback, WandbWatch):
            assert callback._policy.steps == 100
    model.fit(x, y, batch_size=8, epochs=5, validation_data=(x, y), callbacks=callbacks, verbose=0)
    directory = finish()
    rows = history(directory)
    evaluations = [row for row in rows if "eval/right" in row]
    assert [row["train/global_step"] for row in evaluations][:1] == [5]
    assert any("sample_predictions" in row for row in rows)
    assert pathlib.Path("out/model/manifest.json").exists()
    assert sum(one["type"] == "artifact" and one["artifact"]["type"] == "model" for one in records(directory)) == 1
    assert stopping.stopped_epoch == 1


@pytest.mark.parametrize("value", ["Checkpoint", "false", nightly("end")])
def test_a_model_that_is_asked_for_and_that_no_callback_logs_is_told_once(value, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_LOG_MODEL", value)
    model, (x, y) = classifier("tf_keras"), samples(8)
    callbacks = [WandbMetricsLogger()]
    for _ in range(2):
        model.fit(x, y, epochs=2, callbacks=callbacks, verbose=0)
    told = [record for record in caplog.messages if "WANDB_LOG_MODEL" in record]
    assert len(told) == (0 if value == "false" else 1)
    caplog.clear()
    model.fit(x, y, callbacks=[*callbacks, WandbModelCheckpoint("out")], verbose=0)
    assert "WANDB_LOG_MODEL" not in caplog.text


@pytest.mark.parametrize("kind", KERASES)
def test_a_list_that_would_save_too_early_is_refused(kind):
    model, (x, y) = classifier(kind), samples(8)
    right = ComputeMetrics(lambda prediction: {"right": 1.0}, (x, y))
    for late in (WandbMetricsLogger(), right):
        message = rf"WandbModelCheckpoint, \.\.\., {type(late).__name__}.*in front of WandbModelCheckpoint"
        with pytest.raises(SettingError, match=message):
            model.fit(x, y, callbacks=[WandbModelCheckpoint("out"), late], verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"callbacks": [WandbMetricsLogger, WandbMetricsLogger]}, "one WandbMetricsLogger"),
        ({"save_freq": 0, "output_dir": "out"}, "save_freq=0"),
        ({"log_freq": "sometimes"}, "log_freq='sometimes'"),
    ],
)
def test_wrong_arguments(arguments, message):
    made = [callback() for callback in arguments.pop("callbacks", ())]
    with pytest.raises(SettingError, match=message):
        wandb_callbacks(callbacks=made, **arguments)


DATA = samples(8)


class OfWandb(wandb.integration.keras.WandbMetricsLogger):
    def __init__(self):
        """Without a run."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(), r"a list of callbacks.*\[\.\.\.\]"),
        (lambda: [None], "callbacks, not None"),
        (lambda: [EarlyStopping], r"not its class.*EarlyStopping\(\.\.\.\)"),
        (lambda: [OfWandb()], "OfWandb of W&B's.*two clocks"),
    ],
)
def test_what_can_be_no_list_of_callbacks(make, message):
    with pytest.raises(SettingError, match=message):
        wandb_callbacks(callbacks=make())


@pytest.mark.parametrize(
    ("own", "arguments"),
    [
        (None, {"save_freq": 5}),
        (None, {"monitor": "val_loss"}),
        (None, {"mode": "min"}),
        (None, {"save_total_limit": 2}),
        (WandbMetricsLogger, {"log_freq": 5}),
        (WandbMetricsLogger, {"run_name": "mine"}),
        (WandbMetricsLogger, {"config": {}}),
        (lambda: WandbModelCheckpoint("elsewhere"), {"output_dir": "out"}),
        (lambda: WandbModelCheckpoint("elsewhere"), {"save_freq": 5}),
        (lambda: WandbModelCheckpoint("elsewhere"), {"processing_class": object()}),
    ],
)
def test_arguments_that_would_be_ignored_are_refused(own, arguments):
    (name,) = arguments
    with pytest.raises(SettingError, match=f"{name}=.*because.*(no checkpoints are made|your own Wandb)"):
        wandb_callbacks(callbacks=[own()] if own else [], **arguments)


def test_they_are_not_ignored_where_the_environment_asks_for_checkpoints(monkeypatch):
    monkeypatch.setenv("WANDB_LOG_MODEL", "end")
    assert wandb_callbacks(monitor="val_loss", save_freq=np.int64(5), log_freq=np.int64(5))[-1]._policy.steps == 5


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize("guest", ["EarlyStopping", "ReduceLROnPlateau"])
def test_keras_callbacks_in_front_of_the_metric_they_monitor_are_told_of(kind, guest, caplog):
    callbacks = importlib.import_module(kind).callbacks
    guest = getattr(callbacks, guest)("val_right", mode="max")
    other = callbacks.EarlyStopping("val_loss", patience=9)
    right = ComputeMetrics(lambda prediction: {"right": 1.0}, DATA)
    for before, number in (([other, guest, right], 1), ([right, other, guest], 0)):
        caplog.clear()
        classifier(kind).fit(*DATA, epochs=3, validation_data=DATA, callbacks=before, verbose=0)
        said = [one.getMessage() for one in caplog.records if one.name == "tf_hfwb"]
        assert len(said) == number
        assert all(f"{type(guest).__name__}('val_right') stands in front of ComputeMetrics" in one for one in said)


def test_a_wrong_environment(monkeypatch):
    monkeypatch.setenv("WANDB_WATCH", "everything")
    with pytest.raises(SettingError, match="WANDB_WATCH='everything'"):
        wandb_callbacks()
