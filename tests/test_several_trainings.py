"""Several trainings in one process: each has a run of its own, and one that goes on goes on in its run."""

from __future__ import annotations

import importlib
import pathlib

import pytest
import wandb
from helpers import KERASES, classifier, eval_rows, finish, history, needs, nightly, records, samples, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbEvalTable, WandbMetricsLogger, WandbModelCheckpoint, restore
from tf_hfwb.tracking.run_history import run_folders

pytestmark = [pytest.mark.core, pytest.mark.keras3]

DATA = samples(16)
STEP = "train/global_step"


def fit(model, *callbacks, epochs=1, logger=None, **options):
    """Four steps an epoch."""
    logger = WandbMetricsLogger(2, **options) if logger is None else logger
    model.fit(*DATA, batch_size=4, epochs=epochs, verbose=0, shuffle=False, callbacks=[logger, *callbacks])
    return wandb.run.id


def failing(kind, at=2):
    class Failing(importlib.import_module(kind).callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == at:
                raise ArithmeticError

    return Failing()


def rows_of(run_id):
    return [row for directory in run_folders(run_id, "wandb") for row in history(directory)]


def steps_of(run_id):
    return [row[STEP] for row in train_rows(rows_of(run_id))]


def facts_of(run_id):
    """The name, the project, the exit code and the names of the artifacts of the run, as they are on disk."""
    found = [record for directory in run_folders(run_id, "wandb") for record in records(directory)]
    run = [record["run"] for record in found if record["type"] == "run"][-1]
    codes = [record["exit"].get("exit_code", 0) for record in found if record["type"] == "exit"]
    artifacts = [record["artifact"] for record in found if record["type"] == "artifact"]
    names = [f"{one['name']}:{alias}" for one in artifacts for alias in one.get("aliases", []) if alias != "latest"]
    return run.get("display_name"), run["project"], codes, names


def number_of_runs():
    return len({path.name for path in pathlib.Path("wandb").glob("*run-*/run-*.wandb")})


def said(caplog):
    return [record.message for record in caplog.records if "second training" in record.message]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KERASES)
def test_folds_without_names_have_a_run_each_and_a_model_that_goes_on_goes_on_in_its_own(kind, caplog):
    models = [classifier(kind, learning_rate=0.1) for _ in range(2)]
    first, second = [fit(model, WandbEvalTable(DATA, num_samples=1)) for model in models]
    assert first != second
    assert fit(models[1]) == second  # A second fit of the same model.
    models[1].evaluate(*DATA, verbose=0, callbacks=[WandbMetricsLogger()])
    # The first one goes on, with an old logger or a new one, in whichever way.
    assert fit(models[0]) == first
    models[1].evaluate(*DATA, verbose=0, callbacks=[WandbMetricsLogger()])
    assert wandb.run.id == second
    assert fit(models[0], logger=WandbMetricsLogger(1)) == first
    third = fit(classifier(kind))
    finish()
    assert len({first, second, third}) == number_of_runs() == 3
    assert steps_of(first) == [2, 4, 6, 8, 9, 10, 11, 12]
    assert steps_of(second) == [2, 4, 6, 8]
    assert steps_of(third) == [2, 4]
    assert [[row[STEP] for row in eval_rows(rows_of(run))] for run in (first, second)] == [[], [8, 8]]
    assert {code for run in (first, second, third) for code in facts_of(run)[2]} == {0}
    assert not said(caplog)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_another_name_or_project_is_another_run_of_the_same_model_too(kind, monkeypatch):
    model = classifier(kind)
    runs = [fit(model, run_name="a")]
    assert fit(model, run_name="a") == fit(model) == runs[0]
    runs.append(fit(model, run_name="b"))
    runs.append(fit(model, run_name="b", project="p"))
    monkeypatch.setenv("WANDB_NAME", "c")
    monkeypatch.setenv("WANDB_PROJECT", "q")
    runs.append(fit(model))
    finish()
    assert [facts_of(run)[:2] for run in runs] == [("a", "huggingface"), ("b", "huggingface"), ("b", "p"), ("c", "q")]
    assert steps_of(runs[0]) == [2, 4, 6, 8, 10, 12]
    assert [steps_of(run) for run in runs[1:]] == [[14, 16], [18, 20], [22, 24]]


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_after_an_exception_the_same_model_goes_on_and_another_one_has_its_own_run(kind):
    model = classifier(kind)
    with pytest.raises(ArithmeticError):
        fit(model, failing(kind))
    first = wandb.run.id
    assert fit(model) == first
    with pytest.raises(ArithmeticError):
        fit(model, failing(kind))
    second = fit(classifier(kind))
    third = fit(classifier(kind))
    finish()
    assert steps_of(first) == [2, 4, 6, 7, 8, 10]
    assert steps_of(second) == steps_of(third) == [2, 4]
    assert [facts_of(run)[2] for run in (first, second, third)] == [[1], [0], [0]]


def arguments(name, **options):
    options = {
        "num_train_epochs": 1,
        "per_device_train_batch_size": 4,
        "logging_steps": 2,
        "disable_tqdm": True,
    } | options
    return TFTrainingArguments(f"out-{name}", run_name=name, report_to="wandb", **options)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_trials_of_trainers_have_their_own_rows_models_and_ends(kind, monkeypatch):
    monkeypatch.setenv("WANDB_LOG_MODEL", "end")
    trainers, runs = [], []
    for trial in range(3):
        callbacks = [failing(kind)] if trial == 1 else []
        trainer = TFTrainer(
            classifier(kind),
            arguments(f"trial-{trial}"),
            train_dataset=DATA,
            eval_dataset=DATA,
            callbacks=callbacks,
        )
        trainer.evaluate()
        runs.append(wandb.run.id)
        if trial == 1:
            with pytest.raises(ArithmeticError):
                trainer.train()
        else:
            trainer.train()
            assert wandb.run.id == runs[-1]
        trainers.append(trainer)
    # Later evaluations are those of the trial they belong to.
    for trial in (0, 2, 0):
        trainers[trial].evaluate()
        trainers[trial].predict(DATA)
        assert wandb.run.id == runs[trial]
    finish()
    assert len(set(runs)) == number_of_runs() == 3
    assert [steps_of(run) for run in runs] == [[2, 4], [2], [2, 4]]
    assert [facts_of(run)[0] for run in runs] == ["trial-0", "trial-1", "trial-2"]
    assert [facts_of(run)[2] for run in runs] == [[0, 0, 0], [1], [0, 0]]
    assert [facts_of(run)[3] for run in runs] == [["model-trial-0:final"], [], ["model-trial-2:final"]]
    evaluated = [[row[STEP] for row in rows_of(run) if "eval/loss" in row] for run in runs]
    assert evaluated == [[0, 4, 4], [0], [0, 4]]


@needs("transformers")
def test_a_second_trainer_of_the_same_model_goes_on_and_a_fresh_start_does_not():
    model = classifier("keras")
    TFTrainer(model, arguments("one"), train_dataset=DATA).train()
    first = wandb.run.id
    TFTrainer(model, arguments("one"), train_dataset=DATA).train()
    assert wandb.run.id == first
    TFTrainer(model, arguments("one"), train_dataset=DATA).train(False)
    second = wandb.run.id
    finish()
    assert [steps_of(run) for run in (first, second)] == [[2, 4, 6, 8], [2, 4]]


def test_a_training_that_is_restored_goes_on_in_its_run_whatever_was_trained_in_between():
    model = classifier("keras")
    with pytest.raises(ArithmeticError):
        fit(model, WandbModelCheckpoint("out", save_freq=2), failing("keras"))
    first, second = wandb.run.id, fit(classifier("keras"))
    restored = classifier("keras")
    restore(restored, "out")
    assert fit(restored, epochs=2) == first
    assert fit(restored) == first
    finish()
    assert steps_of(first) == [2, 4, 6, 8, 10, 12]
    assert steps_of(second) == [2, 4]


def test_a_run_of_the_users_is_used_and_a_second_training_in_it_is_said_once(caplog):
    model = classifier("keras")
    with wandb.init(name="mine") as run:
        assert fit(model, run_name="a") == fit(model, run_name="a") == run.id
        classifier("keras").evaluate(*DATA, verbose=0, callbacks=[WandbMetricsLogger(run_name="b")])
        assert not said(caplog)
        assert fit(classifier("keras")) == run.id
        (message,) = said(caplog)
        assert "the W&B run 'mine', which you opened" in message
        assert "wandb.finish()" in message
        assert fit(model, run_name="b") == run.id
        assert len(said(caplog)) == 1
    with wandb.init() as other:
        assert fit(classifier("keras")) == other.id
    assert len(said(caplog)) == 1


def test_a_run_whose_client_was_torn_down_ends_before_another_fit_writes_into_it(caplog):
    model = classifier("keras")
    first = fit(model)
    wandb.teardown()
    assert fit(model) == first  # It goes on in its run.
    wandb.teardown()
    second = fit(classifier("keras"))  # As a cell that is run again.
    assert second != first
    wandb.finish()
    mine = wandb.init()
    wandb.teardown()
    third = fit(classifier("keras"))
    wandb.finish()
    assert fit(model) == first
    finish()
    assert [steps_of(run_id) for run_id in (first, second, third)] == [[2, 4, 6, 8, 10, 12], [2, 4], [2, 4]]
    assert third != mine.id
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 3
    assert all(message.startswith("W&B's client no longer writes the run ") for message in warned)


def test_an_id_in_the_environment_is_one_run_which_is_said_once(caplog, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "only")
    assert {fit(classifier("keras"), run_name=name) for name in "aab"} == {"only"}
    (message,) = said(caplog)
    assert "the W&B run 'a', because WANDB_RUN_ID names it" in message


@pytest.mark.nightly
def test_a_training_within_another_one_does_not_end_its_run(caplog):
    keras = importlib.import_module("keras")

    class Inner(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            fit(classifier("keras"), run_name="inner")

    run = fit(classifier("keras"), Inner(), epochs=2, run_name="outer")
    (message,) = said(caplog)
    assert "'outer', where the first is still under way" in message
    assert facts_of(run)[0] == "outer"


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_the_evaluation_of_a_model_that_was_not_trained_has_a_run_of_its_own(kind):
    def evaluate(model, **options):
        model.evaluate(*DATA, verbose=0, callbacks=[WandbMetricsLogger(**options)])
        return wandb.run.id

    trained, other = classifier(kind, learning_rate=0.1), classifier(kind)
    first = fit(trained)
    second = evaluate(other)
    assert second != first
    assert evaluate(trained) == first  # Which is resumed.
    assert fit(other) == second
    finish()
    assert number_of_runs() == 2
    assert [len(eval_rows(rows_of(run))) for run in (first, second)] == [1, 1]
    assert [steps_of(run) for run in (first, second)] == [[2, 4], [2, 4]]


def test_the_evaluation_of_another_model_by_the_name_of_the_run_or_in_a_run_of_the_users_goes_into_it():
    def evaluate(**options):
        classifier("keras").evaluate(*DATA, verbose=0, callbacks=[WandbMetricsLogger(**options)])
        return wandb.run.id

    assert fit(classifier("keras"), run_name="a") == evaluate(run_name="a")
    finish()
    with wandb.init() as run:
        assert fit(classifier("keras")) == evaluate() == run.id


def test_a_run_that_failed_is_not_resumed_by_another_training_of_the_process(monkeypatch):
    monkeypatch.setenv("WANDB_RESUME", "auto")
    with pytest.raises(ArithmeticError):
        fit(classifier("keras"), failing("keras"))
    first, second = wandb.run.id, fit(classifier("keras"))
    finish()
    assert first != second
    assert [steps_of(run) for run in (first, second)] == [[2], [2, 4]]
    assert [facts_of(run)[2] for run in (first, second)] == [[1], [0]]


@needs("transformers")
def test_a_trial_does_not_resume_the_one_that_failed_before_it(monkeypatch):
    monkeypatch.setenv("WANDB_RESUME", "auto")
    trainer = TFTrainer(classifier("keras"), arguments("a"), train_dataset=DATA, callbacks=[failing("keras")])
    with pytest.raises(ArithmeticError):
        trainer.train()
    TFTrainer(classifier("keras"), arguments("b"), train_dataset=DATA).train()
    finish()
    assert number_of_runs() == 2


def test_a_process_that_failed_is_resumed_by_the_next_one(monkeypatch):
    monkeypatch.setenv("WANDB_RESUME", "auto")
    with pytest.raises(ArithmeticError):
        fit(classifier("keras"), failing("keras"))
    first = wandb.run.id
    finish()
    assert fit(classifier("keras")) == first


def test_another_entity_is_another_run(monkeypatch):
    model = classifier("keras")
    monkeypatch.setenv("WANDB_ENTITY", "one")
    first = fit(model)
    assert (fit(model), wandb.run.entity) == (first, "one")
    monkeypatch.setenv("WANDB_ENTITY", "other")
    second = fit(model)
    assert second != first
    assert wandb.run.entity == "other"
    assert fit(model) == second
