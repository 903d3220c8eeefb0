"""``hyperparameter_search`` with optuna: trials, their arguments, objectives, failures and what is said."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import pathlib
import subprocess

import numpy as np
import optuna
import pytest
import transformers
from helpers import classifier, nightly, python, samples
from transformers.trainer_utils import BestRun, HPSearchBackend

import tf_hfwb
from tf_hfwb.errors import SearchError, SettingError
from tf_hfwb.trainer.search.repeatable_sampler import RepeatableSampler

TRAIN, EVAL = samples(32), samples(20, seed=1)


@pytest.fixture(autouse=True)
def quiet_optuna():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def trainer_of(model_init=None, trainer_class=tf_hfwb.TFTrainer, kind="keras", **options):
    callbacks = options.pop("callbacks", None)
    defaults = {
        "max_steps": 4,
        "per_device_train_batch_size": 8,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "learning_rate": 0.5,
    }
    args = tf_hfwb.TFTrainingArguments("out", **{**defaults, **options})
    make = model_init or (lambda: classifier(kind))
    return trainer_class(args=args, model_init=make, train_dataset=TRAIN, eval_dataset=EVAL, callbacks=callbacks)


def rates(trial):
    return {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1.0, log=True)}


def loss(metrics):
    return metrics["eval_loss"]


def tried(directory="out", name="search"):
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{directory}/search/optuna.db")
    return study.trials


@pytest.mark.parametrize("kind", [nightly("tf_keras"), "keras"])
def test_each_trial_is_a_training_with_its_own_arguments_and_the_best_is_returned(kind):
    seen = []

    class Recorder(transformers.TrainerCallback):
        def on_train_begin(self, args, state, control, **more):
            seen.append((args.learning_rate, args.output_dir, args.seed, state.trial_name, dict(state.trial_params)))
            assert state.is_hyper_param_search

    def space(trial):
        return {**rates(trial), "seed": float(trial.suggest_int("seed", 1, 40))}

    given = []
    trainer = trainer_of(lambda trial: given.append(trial) or classifier(kind), callbacks=[Recorder])
    before = dict(vars(trainer.args))
    best = trainer.hyperparameter_search(space, loss, n_trials=3, hp_name=lambda trial: f"rate {trial.number}")
    trials = tried()
    assert isinstance(best, BestRun)
    assert best.objective == min(trial.value for trial in trials)
    assert best.hyperparameters == trials[int(best.run_id)].params
    assert [trial.value for trial in trials][-1] == trainer.objective
    assert vars(trainer.args) == before
    assert seen == [
        (t.params["learning_rate"], f"out/run-{n}", t.params["seed"], f"rate {n}", t.params)
        for n, t in enumerate(trials)
    ]
    assert all(isinstance(one[2], int) for one in seen)  # Cast to the type of the argument.
    assert [getattr(trial, "number", None) for trial in given] == [None, 0, 1, 2]
    # The objective is what a training with these arguments gives.
    trainer.train(trial=best.hyperparameters)
    assert (given[-1], seen[-1]) == (
        best.hyperparameters,
        (best.hyperparameters["learning_rate"], "out", best.hyperparameters["seed"], None, best.hyperparameters),
    )
    assert trainer.args.learning_rate == best.hyperparameters["learning_rate"]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(best.objective, rel=1e-5)
    with pytest.raises(SettingError, match="trial=3 cannot be used"):
        trainer.train(trial=3)
    with pytest.raises(SettingError, match=r"learning_rate=-1.0 cannot be used"):
        trainer.train(trial={"seed": 5, "learning_rate": -1.0})
    assert trainer.args.seed == best.hyperparameters["seed"]


def test_the_same_seed_gives_the_same_trials_however_they_are_cut_into_processes():
    def params(sampler, *calls):
        """Of trials in calls of so many, each with a sampler that knows nothing of the one before."""
        storage = optuna.storages.InMemoryStorage()
        for number in calls:
            study = optuna.create_study(
                storage=storage, sampler=RepeatableSampler(sampler()), study_name="a", load_if_exists=True
            )
            study.optimize(lambda trial: trial.suggest_float("a", 0, 1) + trial.suggest_int("b", 0, 9), number)
        return [trial.params for trial in study.trials]

    def tpe(seed):
        return lambda: optuna.samplers.TPESampler(seed=seed)

    # Ten trials are drawn at random, later ones from what was found.
    assert params(tpe(7), 5, 10, 1) == params(tpe(7), 16) != params(tpe(8), 16)
    same = optuna.samplers.TPESampler(seed=7)  # In a notebook the calls may have one sampler.
    assert params(lambda: same, 5, 10, 1) == params(tpe(7), 16)
    for kind in (optuna.samplers.RandomSampler, optuna.samplers.CmaEsSampler, optuna.samplers.NSGAIISampler):
        whole = params(lambda kind=kind: kind(seed=3), 8)
        assert params(lambda kind=kind: kind(seed=3), 1, 4, 3) == whole
        assert len({trial["a"] for trial in whole}) == 8


GAUSSIAN = """
import sys
sys.path.append(sys.argv[1])
import optuna
from tf_hfwb.trainer.search.repeatable_sampler import RepeatableSampler

def objective(trial):
    return (trial.suggest_float("a", 0, 1) - 0.3) ** 2 + trial.suggest_float("b", 1e-5, 1e-1, log=True)

def params(*calls):
    storage = optuna.storages.InMemoryStorage()
    for number in calls:
        sampler = RepeatableSampler(optuna.samplers.GPSampler(seed=3, n_startup_trials=4))
        study = optuna.create_study(storage=storage, sampler=sampler, study_name="a", load_if_exists=True)
        study.optimize(objective, number)
    return [trial.params for trial in study.trials]

assert params(5, 1, 1, 2) == params(9)
"""


@pytest.mark.nightly
def test_gaussian_processes_are_fitted_alike_in_whichever_process():
    """Here, with the torch of another environment."""
    interpreter = os.environ.get("TF_HFWB_TORCH_PYTHON")
    if interpreter is None:
        pytest.skip("TF_HFWB_TORCH_PYTHON names no Python with PyTorch")
    say = "import os, torch; print(os.path.dirname(torch.__path__[0]))"
    folder = subprocess.run([interpreter, "-c", say], capture_output=True, text=True, check=True).stdout.strip()
    python("-c", GAUSSIAN, folder)


def test_a_trial_that_was_cut_short_gets_the_hyperparameters_that_it_would_have_got():
    def first(*names):
        study = optuna.create_study(sampler=RepeatableSampler(optuna.samplers.TPESampler(seed=1)))
        trial = study.ask()
        return {name: trial.suggest_float(name, 0, 1) for name in names}

    assert first("a", "b")["b"] == first("b")["b"] != first("a")["a"]


@pytest.mark.nightly
def test_the_seed_of_the_arguments_is_that_of_the_trials():
    def params(directory, *calls, seed=7):
        trainer = trainer_of(seed=seed, max_steps=1, eval_steps=1)
        trainer.args.output_dir = directory
        for n_trials in calls:
            trainer.hyperparameter_search(rates, loss, n_trials=n_trials)
        return [trial.params for trial in tried(directory)]

    whole = params("a", 13)
    assert params("b", 2, 12, 13) == whole
    assert params("c", 13, seed=8) != whole


@pytest.mark.nightly
def test_a_finished_search_is_returned_at_once_and_a_longer_one_continues(caplog):
    caplog.set_level(logging.INFO)
    made = []
    trainer = trainer_of(lambda: made.append(1) or classifier("keras"))
    first = trainer.hyperparameter_search(rates, loss, n_trials=2)
    assert trainer.hyperparameter_search(rates, loss, n_trials=2) == first
    assert len(made) == 3
    assert "has 2 of 2 trials already" in caplog.text
    trainer.hyperparameter_search(rates, loss, n_trials=3)
    assert len(tried()) == 3


@pytest.mark.nightly
def test_a_grid_is_tried_once_whatever_n_trials_is():
    def space(trial):
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.1, 0.2),
            "weight_decay": trial.suggest_float("weight_decay", 0, 1),
        }

    grid = {"learning_rate": [0.1, 0.2], "weight_decay": [0.0, 0.5]}
    for _ in range(2):
        trainer_of(max_steps=1).hyperparameter_search(
            space, loss, n_trials=20, sampler=optuna.samplers.GridSampler(grid)
        )
    found = [(trial.params["learning_rate"], trial.params["weight_decay"]) for trial in tried()]
    assert sorted(found) == [(0.1, 0.0), (0.1, 0.5), (0.2, 0.0), (0.2, 0.5)]


@pytest.mark.nightly
@pytest.mark.parametrize("sampler", [optuna.samplers.CmaEsSampler, optuna.samplers.BruteForceSampler])
def test_other_samplers(sampler):
    pytest.importorskip("cmaes")

    def space(trial):
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.1, 0.2, step=0.1),
            "weight_decay": trial.suggest_float("weight_decay", 0, 1, step=0.5),
        }

    trainer = trainer_of(max_steps=1)
    trainer.hyperparameter_search(space, loss, n_trials=4, sampler=sampler(seed=1))
    assert len(tried()) == 4


def test_a_sampler_without_its_packages_is_refused_with_the_command():
    if optuna_can_use_torch():
        pytest.skip("torch is installed")
    with pytest.raises(SettingError, match=r"sampler='GPSampler'.*torch are not\. Run: pip install torch"):
        trainer_of().hyperparameter_search(rates, loss, sampler=optuna.samplers.GPSampler(seed=0))


def optuna_can_use_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def test_a_trial_that_is_behind_the_others_is_pruned_at_an_evaluation():
    evaluated = []

    def space(trial):
        return {"learning_rate": trial.suggest_categorical("learning_rate", [0.05, 1e-6])}

    def objective(metrics):
        evaluated.append(metrics["eval_loss"])
        return metrics["eval_loss"]

    sampler = optuna.samplers.GridSampler({"learning_rate": [0.05, 1e-6]}, seed=3)
    pruner = optuna.pruners.ThresholdPruner(upper=0.9 * EVAL_LOSS_AT_START)
    trainer = trainer_of()
    best = trainer.hyperparameter_search(space, objective, n_trials=2, sampler=sampler, pruner=pruner)
    states = {trial.params["learning_rate"]: trial for trial in tried()}
    assert best.hyperparameters == {"learning_rate": 0.05}
    assert states[1e-6].state is optuna.trial.TrialState.PRUNED
    assert list(states[1e-6].intermediate_values) == [2]
    assert list(states[0.05].intermediate_values) == [2, 4]
    assert len(evaluated) == 3


def loss_at_start():
    model = classifier("keras")
    return float(model.evaluate(*EVAL, verbose=0)[0])


EVAL_LOSS_AT_START = loss_at_start()


@pytest.mark.nightly
def test_several_objectives_give_a_list_of_the_best():
    trainer = trainer_of()
    best = trainer.hyperparameter_search(
        rates, lambda m: (m["eval_loss"], m["eval_accuracy"]), n_trials=3, direction=["minimize", "maximize"]
    )
    assert isinstance(best, list)
    assert all(len(one.objective) == 2 for one in best)
    study = optuna.load_study(study_name="search", storage="sqlite:///out/search/optuna.db")
    assert {one.run_id for one in best} == {str(trial.number) for trial in study.best_trials}
    assert isinstance(
        trainer_of(run_name="other").hyperparameter_search(rates, n_trials=1, direction=["minimize"]), list
    )


@pytest.mark.nightly
def test_without_an_evaluation_within_the_training_there_is_one_after_it():
    trainer = trainer_of(eval_strategy="no", max_steps=2)
    best = trainer.hyperparameter_search(rates, n_trials=1, backend=HPSearchBackend.OPTUNA)
    assert best.objective == trainer.evaluate()["eval_accuracy"]  # The sum of what is not the loss.


def test_a_trial_that_fails_is_one_trial_and_is_told_at_the_end(caplog):
    caplog.set_level(logging.INFO)

    def make(trial):
        if trial is not None and trial.number == 1:
            raise MemoryError("no room for it")
        model = classifier("keras")
        if trial is not None and trial.number == 2:
            model.layers[0].kernel.assign(np.full(model.layers[0].kernel.shape, np.nan))
        return model

    trainer = trainer_of(make)
    best = trainer.hyperparameter_search(rates, loss, n_trials=4)
    fail, complete = optuna.trial.TrialState.FAIL, optuna.trial.TrialState.COMPLETE
    assert [trial.state for trial in tried()] == [complete, fail, fail, complete]
    assert math.isfinite(best.objective)
    said = caplog.text
    assert "4 trials, 2 complete, 2 failed" in said
    assert "failed: run-1: MemoryError: no room for it" in said
    assert "failed: run-2: SearchError: The objective is nan" in said


@pytest.mark.nightly
def test_a_search_of_which_every_trial_fails_raises():
    def make(trial):
        if trial is not None:
            raise ArithmeticError("never")
        return classifier("keras")

    with pytest.raises(SearchError, match=r"None of the 2 trials .* ended them: ArithmeticError: never"):
        trainer_of(make).hyperparameter_search(rates, loss, n_trials=2)


@pytest.mark.nightly
def test_catch_names_the_exceptions_that_are_survived():
    def make(trial):
        if trial is not None:
            raise ArithmeticError("never")
        return classifier("keras")

    with pytest.raises(ArithmeticError):
        trainer_of(make).hyperparameter_search(rates, loss, n_trials=2, catch=(MemoryError,))
    assert len(tried()) == 1


@pytest.mark.nightly
def test_an_interrupted_trial_continues_from_its_checkpoint_under_its_number():
    class Interrupted(transformers.TrainerCallback):
        at = 3

        def on_step_end(self, args, state, control, **more):
            if state.global_step == self.at and args.output_dir.endswith("run-1"):
                Interrupted.at = 0
                raise KeyboardInterrupt

    options = {"save_strategy": "steps", "save_steps": 2, "full_determinism": True}
    steps = []

    class Steps(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **more):
            steps.append((args.output_dir, state.global_step))

    trainer = trainer_of(callbacks=[Steps, Interrupted], **options)
    with pytest.raises(KeyboardInterrupt):
        trainer.hyperparameter_search(rates, loss, n_trials=3)
    assert [trial.state.name for trial in tried()] == ["COMPLETE", "RUNNING"]
    interrupted = tried()[1].params
    steps.clear()
    trainer_of(callbacks=[Steps], **options).hyperparameter_search(rates, loss, n_trials=3)
    assert steps[:3] == [("out/run-1", 3), ("out/run-1", 4), ("out/run-2", 1)]
    assert tried()[1].params == interrupted
    whole = trainer_of(**options)
    whole.args.output_dir = "whole"
    whole.hyperparameter_search(rates, loss, n_trials=3)
    assert [(t.params, t.value) for t in tried()] == [(t.params, t.value) for t in tried("whole")]


@pytest.mark.nightly
def test_default_space():
    trainer = trainer_of(max_steps=1, eval_steps=1)
    best = trainer.hyperparameter_search(n_trials=1)
    assert set(best.hyperparameters) == {"learning_rate", "num_train_epochs", "seed", "per_device_train_batch_size"}


def unused(trial):
    return {**rates(trial), "learning_rat": trial.suggest_float("learning_rat", 0, 1)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hp_space": unused}, r"hp_space='learning_rat'.*model_init takes no trial.*Is 'learning_rate' meant\?"),
        ({"hp_space": lambda trial: None}, r"hp_space=None cannot be used. Expected a function that returns a dict"),
        ({"hp_space": lambda trial: {"output_dir": "x"}}, r"hp_space='output_dir'.*each trial has its own"),
        ({"hp_space": lambda trial: {"learning_rate": -1.0}}, r"learning_rate=-1.0 cannot be used"),
        ({"hp_space": lambda trial: {"max_steps": "many"}}, r"max_steps='many'.*Expected a whole number"),
        ({"hp_space": lambda trial: {"warmup_steps": 2.5}}, r"warmup_steps=2.5.*Expected a whole number"),
        ({"hp_space": lambda trial: {"bf16": "False"}}, r"bf16='False'.*Expected True or False"),
        ({"direction": "down"}, r"direction='down' cannot be used. Expected 'minimize' or 'maximize'"),
        ({"direction": []}, r"direction=\[\] cannot be used"),
        ({"n_trials": 0}, r"n_trials=0 cannot be used"),
        ({"backend": "sigopt"}, r"backend='sigopt' is not recognised. Expected one of 'optuna'"),
        ({"n_job": 2}, r"n_job.*is not recognised. Expected one of 'catch'"),
        ({"n_jobs": 2}, r"n_jobs=2 cannot be used.*Start the script several times"),
        ({"sampler": "tpe"}, r"sampler='tpe' cannot be used. Expected a sampler"),
        ({"pruner": "median"}, r"pruner='median' cannot be used. Expected a pruner"),
        ({"storage": "nosuch://x"}, r"storage='nosuch://x' cannot be used. Expected a URL"),
    ],
)
def test_what_cannot_be_used_is_said_before_the_first_trial(options, said):
    trainer = trainer_of()
    with pytest.raises(SettingError, match=said):
        trainer.hyperparameter_search(**{"hp_space": rates, **options})
    assert not os.path.exists("out/search/optuna.db") or not tried()


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (lambda m: m["eval_f1"], r"Expected a function of these metrics: eval_accuracy, .*KeyError: 'eval_f1'"),
        nightly(lambda m: (1.0, 2.0), r"compute_objective=\(1.0, 2.0\).*1 number"),
        nightly(lambda m: "good", r"compute_objective='good'"),
    ],
)
def test_a_wrong_objective_ends_the_search_and_its_trial_can_continue(objective, said):
    trainer = trainer_of()
    with pytest.raises(SettingError, match=said):
        trainer.hyperparameter_search(rates, objective, n_trials=2)
    trainer.hyperparameter_search(rates, loss, n_trials=2)
    assert [trial.state.name for trial in tried()] == ["COMPLETE", "COMPLETE"]


@pytest.mark.nightly
def test_a_search_is_not_mixed_with_another_one():
    trainer_of(save_strategy="steps").hyperparameter_search(rates, loss, n_trials=1)
    with pytest.raises(SettingError, match=r"direction=\['maximize'\].*\['minimize'\], with which the search 'search'"):
        trainer_of().hyperparameter_search(rates, loss, direction="maximize")
    with pytest.raises(SettingError, match=r"load_if_exists=False.*True, to continue the search 'search'"):
        trainer_of().hyperparameter_search(rates, loss, load_if_exists=False)
    other = {"hp_space": lambda trial: {"learning_rate": trial.suggest_categorical("learning_rate", [0.1])}}
    with pytest.raises(SettingError, match=r"hp_space='learning_rate'.*with which the search 'search' was begun"):
        trainer_of().hyperparameter_search(**other)
    with pytest.raises(SettingError, match=r"output_dir='out'.*out/run-0 has some"):
        trainer_of(save_strategy="steps").hyperparameter_search(rates, loss, study_name="new")


def test_a_trainer_without_model_init_is_refused():
    trainer = tf_hfwb.TFTrainer(classifier("keras"), tf_hfwb.TFTrainingArguments("out", report_to="none"))
    with pytest.raises(SettingError, match=r"model_init=None cannot be used. Expected a function that makes the model"):
        trainer.hyperparameter_search(rates)


def test_a_missing_backend_is_named_with_the_command(monkeypatch):
    find = importlib.util.find_spec
    missing = ("optuna", "ray", "wandb")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else find(name))
    with pytest.raises(SettingError, match=r"backend='optuna'.*Run: pip install 'tf_hfwb\[optuna\]'"):
        trainer_of().hyperparameter_search(rates, backend="optuna")
    with pytest.raises(SettingError, match=r"backend=None.*Run: pip install 'tf_hfwb\[optuna\]'"):
        trainer_of().hyperparameter_search(rates)


@pytest.mark.nightly
def test_an_unknown_hyperparameter_is_left_to_a_model_init_with_a_trial(caplog):
    widths = []

    def make(trial):
        if trial is not None:
            widths.append(trial.params["width"])
        return classifier("keras")

    def space(trial):
        return {"width": trial.suggest_int("width", 1, 4)}

    trainer_of(make, max_steps=1).hyperparameter_search(space, loss, n_trials=2)
    assert widths == [trial.params["width"] for trial in tried()]
    assert "'width' is no training argument. Expected model_init(trial)" in caplog.text


@pytest.mark.nightly
def test_storage_and_timeout_of_the_user(tmp_path):
    url = f"sqlite:///{tmp_path}/mine.db"
    trainer_of().hyperparameter_search(rates, loss, n_trials=1, storage=url, study_name="mine")
    assert len(optuna.load_study(study_name="mine", storage=url).trials) == 1
    assert not pathlib.Path("out/search/optuna.db").exists()
    storage = optuna.storages.InMemoryStorage()
    trainer_of().hyperparameter_search(rates, loss, n_trials=50, timeout=1, storage=storage, gc_after_trial=True)
    assert 1 <= len(optuna.load_study(study_name="search", storage=storage).trials) < 50
