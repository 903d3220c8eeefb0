"""``EarlyStopping``: as Keras's own on both Kerases, at the step of the evaluation, and across interruptions."""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import logging
import math
import os
import types

import numpy as np
import pytest
import tiny
from helpers import KERASES, finish, nightly, python, records, samples

from tf_hfwb import (
    EarlyStopping,
    TFTrainer,
    TFTrainingArguments,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    load_model,
    restore,
    training_batches,
)
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import SettingError

pytestmark = pytest.mark.keras3

NAN, INF = math.nan, math.inf
STEPS = 3  # Of an epoch.


@functools.cache
def shared_model(kind: str):
    """One model for many fits; plain SGD keeps nothing between them."""
    keras = importlib.import_module(kind)
    model = tiny.functional(kind, optimizer=keras.optimizers.SGD(0.1))
    return model, [np.array(weight) for weight in model.get_weights()]


def evaluated(kind: str, values, name="val_x"):
    """What a validation adds to the logs of each epoch."""

    class Evaluated(importlib.import_module(kind).callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if values[epoch] is not None:
                logs[name] = values[epoch]

    return Evaluated()


def fit(kind, values, *callbacks, model=None, epochs=None, start=0, **options):
    """Train an epoch of three steps for each value."""
    if model is None:
        model, initial = shared_model(kind)
        model.set_weights(initial)
    x, y = tiny.named(samples(4 * STEPS))
    batches = training_batches((x, y), 4, model=model, start_step=start)
    history = model.fit(
        batches.dataset,
        steps_per_epoch=STEPS,
        epochs=len(values) if epochs is None else epochs,
        callbacks=[evaluated(kind, values), *callbacks],
        verbose=0,
        **options,
    )
    return len(history.epoch), [np.array(weight) for weight in model.get_weights()]


def same(left, right) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


# -- as Keras ------------------------------------------------------------------------------------------------------

# Multiples of 1/8: Keras 3 compares in float32.
SEQUENCES = [
    (1.0, 0.875, 0.75, 0.625, 0.5),
    (1.0, 0.5, 0.75, 0.625, 0.875, 0.375),
    (0.5, 0.5, 0.5, 0.5),
    (0.5, 0.625, 0.75, 0.25, 0.375, 0.5, 0.5),
    (0.5, NAN, 0.25, NAN, NAN, NAN),
    (0.5, INF, -INF, 0.0, 0.25),
    (1.0, 0.875, None, 0.75, None, 0.875, 0.875),
    (NAN, NAN, 0.5, 0.25, 0.375, 0.5),
    (INF, 0.5, 0.75, INF, 0.25),
]
ARGUMENTS = [
    {},
    {"patience": 1},
    {"patience": 2},
    {"patience": 2, "min_delta": 0.125},
    {"min_delta": -0.25, "patience": 1},
    {"patience": 2, "baseline": 0.5},
    {"patience": 3, "baseline": 0.25, "min_delta": 0.125},
    {"patience": 1, "start_from_epoch": 2},
    {"start_from_epoch": 3},
]


@pytest.mark.parametrize(
    ("kind", "mode", "cases"),
    [
        ("tf_keras", "min", slice(0, None, 6)),
        ("keras", "max", slice(1, None, 12)),
        nightly("tf_keras", "min", slice(3, None, 6)),
        nightly("keras", "max", slice(7, None, 12)),
        nightly("tf_keras", "max", slice(1, None, 6)),
        nightly("keras", "min", slice(0, None, 3)),
    ],
)
def test_does_what_keras_does(kind, mode, cases):
    own = importlib.import_module(kind).callbacks.EarlyStopping
    sign = 1 if mode == "min" else -1
    for sequence, arguments in [*itertools.product(SEQUENCES, ARGUMENTS)][cases]:  # Of all of them as much as matters.
        # The two Kerases differ in what a first NaN or a first infinity is; see the next test.
        first = sequence[arguments.get("start_from_epoch", 0)]
        if first is None or (kind == "keras" and math.isnan(first)) or (kind == "tf_keras" and first == INF):
            continue
        values = [None if value is None else sign * value for value in sequence]
        arguments = {**arguments, "mode": mode, "restore_best_weights": True}
        if "baseline" in arguments:
            arguments["baseline"] *= sign
        theirs, ours = own("val_x", **arguments), EarlyStopping("val_x", **arguments)
        expected_epochs, expected = fit(kind, values, theirs)
        epochs, weights = fit(kind, values, ours)
        case = (values, arguments)
        assert epochs == expected_epochs, case
        assert same(weights, expected), case
        for name in ("wait", "best_epoch", "stopped_epoch"):
            assert getattr(ours, name) == getattr(theirs, name), (name, case)
        best = None if theirs.best is None or theirs.best == sign * INF else float(theirs.best)
        assert ours.best == best, case
        assert bool(ours.stopped_step) is bool(ours.stopped_epoch)
        if ours.stopped_step:
            assert ours.stopped_step - ours.best_step == STEPS * (ours.stopped_epoch - ours.best_epoch), case


@pytest.mark.parametrize("kind", KERASES)
def test_the_first_value_is_never_nan_but_may_be_infinite(kind):
    stopping = EarlyStopping("val_x", patience=2, mode="min")
    assert fit(kind, [NAN, 0.5, 0.25, 0.5], stopping)[0] == 4  # Keras 3 would compare with NaN, and stop.
    assert (stopping.best, stopping.best_epoch, stopping.wait) == (0.25, 2, 1)
    fit(kind, [INF, INF], stopping)
    assert (stopping.best, stopping.best_epoch, stopping.wait) == (INF, 0, 1)


@pytest.mark.parametrize("kind", KERASES)
def test_each_fit_begins_anew(kind):
    stopping = EarlyStopping("val_x", patience=2, mode="min", restore_best_weights=True)
    assert fit(kind, [0.1, 0.2, 0.3, 0.0], stopping)[0] == 3
    assert (stopping.stopped_epoch, stopping.stopped_step - stopping.best_step) == (2, 2 * STEPS)
    epochs, weights = fit(kind, [0.5, 0.4, 0.3], stopping)
    assert (epochs, stopping.stopped_step, stopping.best) == (3, 0, 0.3)
    assert same(weights, fit(kind, [0.5, 0.4, 0.3])[1])


@pytest.mark.parametrize("kind", KERASES)
def test_ends_with_the_best_weights_also_when_nothing_stops_it(kind):
    stopping = EarlyStopping("eval/x", patience=9, mode="min", restore_best_weights=True)
    epochs, weights = fit(kind, [0.5, 0.1, 0.4], stopping)
    assert (epochs, stopping.stopped_step) == (3, 0)
    assert same(weights, fit(kind, [0, 0])[1])
    assert not same(fit(kind, [0.5, 0.1, 0.4], EarlyStopping("val_x", patience=9))[1], weights)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_batch_statistics_are_restored_too(kind):
    keras = importlib.import_module(kind)
    x, y = samples(32)
    ends = []
    for callback in (keras.callbacks.EarlyStopping, EarlyStopping):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Input((4,)), keras.layers.Dense(4), keras.layers.BatchNormalization()]
        model = keras.Sequential([*layers, keras.layers.Dense(3)])
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        stopping = callback("val_x", mode="min", patience=2, restore_best_weights=True)
        values = evaluated(kind, [3.0, 1.0, 2.0, 2.0, 2.0])
        model.fit(x, y, epochs=5, batch_size=8, shuffle=False, verbose=0, callbacks=[values, stopping])
        ends.append([np.array(weight) for weight in model.get_weights()])
    assert same(*ends)


@pytest.mark.parametrize("kind", KERASES)
@pytest.mark.parametrize("monitor", ["val_accuracy", "eval_accuracy", "eval/accuracy", "val_loss", "loss", "accuracy"])
def test_real_metrics_by_any_name(kind, monitor):
    model, initial = shared_model(kind)
    model.set_weights(initial)
    x, y = tiny.named(samples(12))
    stopping = EarlyStopping(monitor, patience=1, min_delta=10.0)  # Only the first can be the best.
    history = model.fit(x, y, epochs=4, verbose=0, validation_data=(x, y), callbacks=[stopping])
    name = monitor.replace("eval/", "val_").replace("eval_", "val_")
    assert stopping.best == pytest.approx(history.history[name][0])
    assert len(history.epoch) == 2
    assert stopping._higher is ("accuracy" in monitor)


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_compiled_metric_says_itself_what_is_better(kind):
    keras = importlib.import_module(kind)
    model = tiny.functional(kind, metrics=[keras.metrics.MeanSquaredError(name="score")])
    x, y = tiny.named(samples(8))
    y = np.eye(3, dtype="float32")[y]
    model.compile("sgd", "mse", metrics=[keras.metrics.MeanSquaredError(name="score")])
    stopping = EarlyStopping("val_score", patience=5)
    model.fit(x, y, verbose=0, validation_data=(x, y), callbacks=[stopping])
    assert stopping._higher is False


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("categorical_crossentropy", lambda keras: "categorical_crossentropy"),
        nightly("surprise", lambda keras: keras.metrics.CategoricalCrossentropy(name="surprise")),
        ("rate", lambda keras: keras.metrics.FalsePositives(name="rate")),
    ],
)
def test_which_way_is_better_is_the_same_for_stopping_saving_and_the_best_values(kind, name, make):
    """As the compiled metric says, whatever it is called."""
    keras = importlib.import_module(kind)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=[make(keras)])
    x, y = samples(8)
    values = evaluated(kind, [0.5, 0.3, 0.4, 0.6], f"val_{name}")
    stopping = EarlyStopping(f"val_{name}", patience=2)
    checkpoints = WandbModelCheckpoint("out", monitor=f"val_{name}")
    y = np.eye(3, dtype="float32")[y]
    model.fit(x, y, epochs=4, callbacks=[values, WandbMetricsLogger(), stopping, checkpoints], verbose=0)
    found = summary(records(finish()))
    assert (stopping.best, stopping.stopped_epoch) == (0.3, 3)
    assert checkpoints.best == found[f"best/eval/{name}"] == found["early_stopping/best"] == 0.3
    assert found[f"best/eval/{name}_step"] == stopping.best_step == 2


@pytest.mark.parametrize("monitor", ["stopping", "checkpoints"])
def test_the_best_values_are_best_in_the_way_that_a_callback_was_told(monitor):
    stopping = EarlyStopping("val_x", patience=9, mode="min" if monitor == "stopping" else "auto")
    callbacks = [stopping]
    if monitor == "checkpoints":
        callbacks.append(WandbModelCheckpoint("out", monitor="eval_x", mode="min"))
    fit("keras", [0.5, 0.3, 0.4], WandbMetricsLogger(), *callbacks)
    found = summary(records(finish()))
    assert found["best/eval/x"] == found["early_stopping/best"] == stopping.best == 0.3


def stop_of_transformers(values, patience: int, threshold: float, higher: bool) -> int:
    """How many evaluations transformers' own callback sees."""
    import transformers

    callback = transformers.EarlyStoppingCallback(patience, threshold)
    args = types.SimpleNamespace(metric_for_best_model="x", greater_is_better=higher)
    state, control = transformers.TrainerState(), transformers.TrainerControl()
    for number, value in enumerate(values, 1):
        callback.on_evaluate(args, state, control, {"eval_x": value})
        if control.should_training_stop:
            return number
        # As Trainer._determine_best_metric.
        if state.best_metric is None or (value > state.best_metric if higher else value < state.best_metric):
            state.best_metric = value
    return len(values)


def test_stops_where_the_callback_of_transformers_does():
    random = np.random.default_rng(0)
    seen = set()
    for patience, higher in itertools.product([1, 2, 3], [True, False]):
        values = (random.integers(0, 8, size=8) / 8).tolist()
        expected = stop_of_transformers(values, patience, 0.0, higher)
        stopping = EarlyStopping("val_x", patience=patience, mode="max" if higher else "min")
        assert fit("keras", values, stopping)[0] == expected, (values, patience, higher)
        seen.add(expected)
    assert len(seen) > 2
    # With a threshold there is no equivalent, as the docstring says.
    steady = [0.5, 0.5625, 0.625, 0.6875, 0.75]
    assert stop_of_transformers(steady, 2, 0.1, True) == 3
    assert fit("keras", steady, EarlyStopping("val_x", patience=2, min_delta=0.1, mode="max"))[0] == 5


@pytest.mark.parametrize("kind", KERASES)
def test_says_what_keras_says(kind, capsys):
    own = importlib.import_module(kind).callbacks.EarlyStopping
    said = []
    for callback in (own, EarlyStopping):
        fit(kind, [0.1, 0.2, 0.3], callback("val_x", mode="min", verbose=1, patience=1, restore_best_weights=True))
        said.append(capsys.readouterr().out)
    assert (
        said[0] == said[1] == ("Epoch 2: early stopping\nRestoring model weights from the end of the best epoch: 1.\n")
    )


def test_a_metric_that_is_not_there_is_missed_once(caplog):
    with caplog.at_level(logging.WARNING):
        assert fit("keras", [0.1, 0.2, 0.3], EarlyStopping("val_los"))[0] == 3
    (record,) = caplog.records
    assert "'val_los'" in record.getMessage()
    assert "accuracy, loss, val_x" in record.getMessage()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"monitor": ""}, "monitor=''"),
        ({"mode": "best"}, "mode='best'.*'auto', 'min', 'max'"),
        ({"patience": -1}, "patience=-1.*0 or more"),
        ({"patience": 0.5}, "patience=0.5"),
        ({"patience": True}, "patience=True"),
        ({"min_delta": "0.1"}, "min_delta='0.1'"),
        ({"min_delta": NAN}, "min_delta=nan"),
        ({"baseline": "low"}, "baseline='low'"),
        ({"verbose": "auto"}, "verbose='auto'"),
        ({"start_from_epoch": -1}, "start_from_epoch=-1"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(SettingError, match=message):
        EarlyStopping(**arguments)


def test_whole_numbers_may_be_numpy_s():
    stopping = EarlyStopping(patience=np.int64(3), start_from_epoch=np.int8(1), verbose=True)
    assert (stopping.patience, stopping.start_from_epoch, stopping.verbose) == (3, 1, 1)
    assert type(stopping.patience) is int  # JSON knows no others.


def test_arguments_stand_where_keras_has_them():
    stopping = EarlyStopping("val_loss", 0.5, 3, 1, "max", 0.25, True, 2)
    assert (stopping.min_delta, stopping.patience, stopping.mode, stopping.baseline) == (0.5, 3, "max", 0.25)


# -- evaluations by steps --------------------------------------------------------------------------------------------


class Scores:
    """What ``compute_metrics`` gives, one evaluation after the other."""

    def __init__(self, *values):
        self.values = list(values)

    def __call__(self, prediction):
        return {"score": self.values.pop(0)}


def trainer_of(kind, scores, *callbacks, output_dir="out", **arguments):
    defaults = {
        "report_to": "none",
        "disable_tqdm": True,
        "num_train_epochs": 3,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_steps": 2,
    }
    args = TFTrainingArguments(output_dir=output_dir, **{**defaults, **arguments})
    return TFTrainer(
        tiny.functional(kind, dropout=0.2),
        args,
        train_dataset=tiny.named(samples(20)),
        eval_dataset=tiny.named(samples(8, seed=1)),
        compute_metrics=Scores(*scores),
        callbacks=callbacks,
    )


def weights(model) -> list[np.ndarray]:
    return [np.array(weight) for weight in model.get_weights()]


def weights_at(step, directory="out") -> list[np.ndarray]:
    return weights(load_model(f"{directory}/checkpoint-{step}"))


def steps_in(directory) -> list[int]:
    return [checkpoint.step for checkpoint in Store(directory).checkpoints()]


SCORES = (0.1, 0.3, 0.2, 0.3, 0.4, 0.0, 0.0)


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize(
    ("patience", "best", "stopped", "epoch"), [(1, 4, 6, 1), nightly(2, 4, 8, 1), nightly(3, 10, 0, 0)]
)
def test_stops_at_the_very_step_that_was_evaluated(kind, patience, best, stopped, epoch):
    """Five steps an epoch, an evaluation every two."""
    stopping = EarlyStopping("eval_score", patience=patience)
    trainer = trainer_of(kind, SCORES, stopping)
    assert trainer.train().global_step == (stopped or 15)
    assert (stopping.stopped_step, stopping.stopped_epoch, stopping.best_step) == (stopped, epoch, best)
    assert steps_in("out")[-1] == (stopped or 15)
    assert same(weights(trainer.model), weights_at(stopped or 15))


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_can_stop_in_the_first_epoch_but_not_at_the_first_evaluation(kind):
    stopping = EarlyStopping("eval/score", mode="min")
    assert trainer_of(kind, (NAN, 0.1, 0.2, 0.3), stopping, eval_steps=1, save_strategy="no").train().global_step == 3
    assert (stopping.stopped_step, stopping.stopped_epoch) == (3, 0)
    assert stopping.model.optimizer.iterations.numpy() == 3
    later = EarlyStopping("eval_score", start_from_epoch=1)
    assert trainer_of(kind, (*"987654321",), later, eval_steps=2, save_strategy="no").train().global_step == 8
    assert (later.best_step, later.best_epoch, later.best) == (6, 1, 7.0)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_under_several_steps_per_execution(kind):
    stopping = EarlyStopping("eval_loss", patience=2, min_delta=10.0, restore_best_weights=True)
    trainer = trainer_of(kind, (), stopping)
    trainer.compute_metrics = None
    model = trainer.model
    model.compile(loss=model.loss, steps_per_execution=2)
    stopped = {"tf_keras": 7, "keras": 6}[kind]  # The fifth step ends an epoch, beyond which Keras 3 trains.
    assert trainer.train().global_step == stopped
    assert (stopping.best_step, stopping.stopped_step) == (2, stopped)
    assert same(weights(model), weights_at(2))


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kind", "options"),
    [("tf_keras", {}), ("keras", {}), ("keras", {"load_best_model_at_end": True, "metric_for_best_model": "score"})],
)
def test_the_last_checkpoint_has_the_last_weights_and_the_model_the_best(kind, options, monkeypatch):
    monkeypatch.setenv("WANDB_LOG_MODEL", "end")
    monkeypatch.setenv("WANDB_NAME", "run")
    stopping = EarlyStopping("eval_score", patience=2, restore_best_weights=True)
    trainer = trainer_of(kind, SCORES, stopping, report_to="wandb", save_steps=2, **options)
    trainer.train()
    directory = finish()
    assert steps_in("out")[-1] == 8
    assert not same(weights_at(8), weights_at(4))
    assert same(weights(trainer.model), weights_at(4))
    assert same(weights(load_model("model-run:final")), weights_at(4))
    found = records(directory)
    (artifact,) = [record["artifact"] for record in found if record["type"] == "artifact"]
    metadata = json.loads(artifact["metadata"])
    assert set(artifact["aliases"]) == {"latest", "final", "best"}
    assert (metadata["global_step"], metadata["eval/score"]) == (4, 0.3)
    facts = {"best": 0.3, "best_step": 4, "stopped_step": 8, "stopped_epoch": 1.6}
    facts = {f"early_stopping/{name}": pytest.approx(value) for name, value in facts.items()}
    assert {name: value for name, value in metadata.items() if name.startswith("early_")} == facts
    assert {name: value for name, value in summary(found).items() if name.startswith("early_")} == facts


def summary(found) -> dict:
    updates = [record["summary"]["update"] for record in found if record["type"] == "summary"]
    return {name: value for update in updates for name, value in update.items()}


@pytest.mark.nightly
@pytest.mark.parametrize(("kind", "is_in_front"), [("tf_keras", True), nightly("tf_keras", False), ("keras", False)])
def test_the_order_of_the_callbacks_does_not_matter_at_the_end(kind, is_in_front, caplog):
    stopping = EarlyStopping("val_x", mode="min", patience=2, restore_best_weights=True)
    callbacks = [stopping, WandbModelCheckpoint("out", save_freq=5, log_model="end", artifact_name="mine")]
    model = tiny.functional(kind, optimizer="adam")
    with caplog.at_level(logging.WARNING):
        fit(kind, [0.3, 0.2, 0.3, 0.4, 0.1], *callbacks[:: 1 if is_in_front else -1], model=model)
    finish()
    assert (stopping.best_step, stopping.stopped_step) == (6, 12)
    assert steps_in("out") == [5, 10, 12]
    after = {epochs: fit(kind, [0] * epochs, model=tiny.functional(kind, optimizer="adam"))[1] for epochs in (2, 4)}
    assert same(weights(model), after[2])
    assert same(weights(load_model("model-mine:final")), after[2])
    assert same(weights_at(12), after[4])  # From which training could go on.
    assert ("Put it in front" in caplog.text) is not is_in_front


# -- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "interrupted_at"),
    [
        nightly("tf_keras", 12),
        ("keras", 10),
        nightly("tf_keras", 6),
        nightly("tf_keras", 10),
        nightly("keras", 6),
        nightly("keras", 12),
    ],
)
def test_goes_on_with_the_patience_that_was_left_and_the_best_weights(kind, interrupted_at, caplog):
    """The best step is 10; a checkpoint before, at and behind it."""
    scores = (0.1, 0.3, 0.2, 0.2, 0.4, 0.3, 0.3, 0.3)
    arguments = {"num_train_epochs": 4, "save_total_limit": 2}
    straight = EarlyStopping("eval_score", patience=3, restore_best_weights=True)
    whole = trainer_of(kind, scores, straight, output_dir="straight", **arguments)
    whole.train()
    assert (straight.best_step, straight.stopped_step) == (10, 16)

    first = EarlyStopping("eval_score", patience=3, restore_best_weights=True)
    with pytest.raises(InterruptedError):
        trainer_of(kind, scores, first, Fail(interrupted_at), **arguments).train()
    assert steps_in("out")[-1] == interrupted_at
    second = EarlyStopping("eval_score", patience=3, restore_best_weights=True)
    resumed = trainer_of(kind, scores[interrupted_at // 2 :], second, **arguments)
    with caplog.at_level(logging.WARNING):
        assert resumed.train(resume_from_checkpoint=True).global_step == 16
    assert counts(second) == counts(straight)
    assert same(weights(resumed.model), weights(whole.model))
    assert 10 in steps_in("out")  # The limit is 2, and nobody else knows of the best.
    states = Store("out").checkpoints()[-1].read_json("trainer_state.json")["callbacks"]
    assert states["EarlyStopping-eval/score-0"]["wait"] == 3
    assert states["GuestStates"] == {}  # It is no guest.
    assert "without the weights" not in caplog.text

    if interrupted_at != 12:
        return
    # The same command once more: it was stopped, and stays so, unless there is more patience.
    third = EarlyStopping("eval_score", patience=3, restore_best_weights=True)
    again = trainer_of(kind, (), third, **arguments)
    assert again.train(resume_from_checkpoint=True).global_step == 16
    assert counts(third) == counts(straight)
    assert same(weights(again.model), weights(whole.model))
    patient = EarlyStopping("eval_score", patience=4, restore_best_weights=True)
    assert trainer_of(kind, (0.1, 0.1), patient, **arguments).train(resume_from_checkpoint=True).global_step == 18


def Fail(step):
    """An exception in the step behind ``step``, once that one is saved."""
    from tf_hfwb.keras_compat import Callback

    class _Fail(Callback):
        seen = 0

        def on_train_batch_begin(self, batch, logs=None):
            if self.seen == step + 1:
                raise InterruptedError
            self.seen += 1

    return _Fail()


def counts(stopping) -> tuple:
    names = ("wait", "best", "best_epoch", "best_step", "stopped_epoch", "stopped_step")
    return tuple(getattr(stopping, name) for name in names)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_plain_fit_goes_on_and_says_when_the_best_weights_are_gone(kind, caplog):
    keras = importlib.import_module(kind)
    values = [0.3, 0.1, 0.2, 0.3, 0.4, 0.5]

    def run(directory, number, source=None):
        model = tiny.functional(kind, dropout=0.2, optimizer=keras.optimizers.Adam(1e-2))
        start = restore(model, source).batches if source else 0
        stopping = EarlyStopping("val_x", mode="min", patience=3, restore_best_weights=True)
        fit(kind, values[:number], stopping, WandbModelCheckpoint(directory), model=model, start=start)
        return stopping, weights(model)

    straight, expected = run("straight", 6)
    assert (straight.best_step, straight.stopped_step) == (6, 15)
    run("out", 3)
    resumed, found = run("out", 6, "out/checkpoint-9")
    assert counts(resumed) == counts(straight)
    assert same(found, expected)

    Store("out").prune(1, keep={9})
    with caplog.at_level(logging.WARNING):
        resumed, found = run("elsewhere", 6, "out/checkpoint-9")
    assert counts(resumed) == counts(straight)
    assert same(found, weights_at(15, "straight"))
    (warning,) = [record.getMessage() for record in caplog.records if "without the weights" in record.getMessage()]
    assert "best step 6 (eval/x=0.1)" in warning
    assert "checkpoint-6" in warning


# -- JAX -------------------------------------------------------------------------------------------------------------

ON_JAX = """
import sys; sys.path.insert(0, {tests!r})
import logging
import numpy as np
import test_early_stopping as t
from tf_hfwb import EarlyStopping
import keras
assert keras.backend.backend() == "jax"

stopping = EarlyStopping("val_x", mode="min", patience=2, restore_best_weights=True)
epochs, found = t.fit("keras", [0.3, 0.1, 0.2, 0.3, 0.0], stopping)
assert (epochs, stopping.stopped_epoch, stopping.best_epoch) == (4, 3, 1), epochs
assert t.same(found, t.fit("keras", [0, 0])[1])

scores = (0.1, 0.3, 0.2, 0.1, 0.4)
straight = EarlyStopping("eval_score", patience=2, restore_best_weights=True)
trainer = t.trainer_of("keras", scores, straight)
assert trainer.train().global_step == 8
assert t.counts(straight) == (2, 0.3, 0, 4, 1, 8), t.counts(straight)
assert int(np.array(trainer.model.optimizer.iterations)) == 8
assert t.same(t.weights(trainer.model), t.weights_at(4))
assert not t.same(t.weights(trainer.model), t.weights_at(8))
again = EarlyStopping("eval_score", patience=2, restore_best_weights=True)
resumed = t.trainer_of("keras", scores[3:], again, output_dir="again")
assert resumed.train(resume_from_checkpoint="out/checkpoint-6").global_step == 8
assert t.counts(again) == t.counts(straight)
assert t.same(t.weights(trainer.model), t.weights(resumed.model))
once_more = EarlyStopping("eval_score", patience=2)
assert t.trainer_of("keras", (), once_more).train(resume_from_checkpoint="out/checkpoint-8").global_step == 8
"""


@pytest.mark.nightly
def test_on_jax():
    python("-c", ON_JAX.format(tests=os.path.dirname(__file__)), KERAS_BACKEND="jax")
