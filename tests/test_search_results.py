"""What a search hands back and trains with: hyperparameters as hp_space returned them, objectives, trials anew."""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import numpy as np
import optuna
import pytest
import transformers
from helpers import classifier, nightly, samples

import tf_hfwb
from tf_hfwb.errors import SearchError, SettingError
from tf_hfwb.trainer.search.objective_values import objective_values
from tf_hfwb.trainer.search.trial_parameters import RETURNED, found_params, set_arguments

TRAIN, EVAL = samples(16), samples(8, seed=1)


@pytest.fixture(autouse=True)
def quiet_optuna():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def trainer_of(model_init=lambda: classifier("keras"), callbacks=None, **options):
    args = tf_hfwb.TFTrainingArguments(
        "out",
        **{
            "max_steps": 1,
            "per_device_train_batch_size": 8,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            **options,
        },
    )
    return tf_hfwb.TFTrainer(
        args=args, model_init=model_init, train_dataset=TRAIN, eval_dataset=EVAL, callbacks=callbacks
    )


def loss(metrics):
    return metrics["eval_loss"]


@pytest.mark.filterwarnings("ignore:Choices for a categorical")
def test_choices_that_are_lists_do_not_take_the_result(caplog):
    caplog.set_level("INFO")

    def space(trial):
        return {"hidden": trial.suggest_categorical("hidden", [[8], [8, 8]]), "seed": trial.suggest_int("seed", 1, 9)}

    best = trainer_of(lambda trial: classifier("keras")).hyperparameter_search(space, loss, n_trials=2)
    assert best.hyperparameters["hidden"] in ([8], [8, 8])
    assert "2 trials, 2 complete" in caplog.text


def test_values_are_cast_to_the_type_of_the_field_and_not_to_that_of_the_present_value():
    @dataclasses.dataclass
    class Arguments(tf_hfwb.TFTrainingArguments):
        width: int = 4
        inner: OnlyHere | None = None  # noqa: F821 - a name that cannot be looked up

    whole = {"weight_decay": 0, "warmup_ratio": 0, "max_grad_norm": 1, "num_train_epochs": 3, "save_steps": 500}
    for kind in (tf_hfwb.TFTrainingArguments, Arguments):
        args = kind("out", **whole)
        fractions = {"weight_decay": 0.25, "warmup_ratio": 0.5, "max_grad_norm": 0.75, "save_steps": 0.5}
        set_arguments(args, {**fractions, "num_train_epochs": np.float32(1.5), "learning_rate": "1e-3"})
        assert {name: getattr(args, name) for name in fractions} == fractions
        assert (args.num_train_epochs, args.learning_rate) == (1.5, 1e-3)
        set_arguments(args, {"seed": 3.0, "save_total_limit": np.int64(2), "bf16": 0, "eval_steps": None})
        assert (args.seed, args.save_total_limit, args.bf16, args.eval_steps) == (3, 2, False, None)
        assert (type(args.seed), type(args.bf16)) == (int, bool)
        for value in (2.5, float("inf"), None, "a"):
            with pytest.raises(SettingError, match=r"seed=.* cannot be used. Expected a whole number"):
                set_arguments(args, {"seed": value})
    with pytest.raises(SettingError, match=r"save_total_limit=2.5 cannot be used. Expected a whole number"):
        set_arguments(args, {"save_total_limit": 2.5})


def test_what_was_found_is_what_the_space_returned_and_trains_the_same_model():
    seen = []

    class Recorder(transformers.TrainerCallback):
        def on_train_begin(self, args, state, control, **more):
            seen.append((args.learning_rate, args.weight_decay, args.max_steps, dict(state.trial_params)))

    def space(trial):
        rate = 10 ** trial.suggest_float("log_rate", -3, -1)
        return {"learning_rate": rate, "weight_decay": trial.suggest_float("weight_decay", 1, 2) / 10, "max_steps": 2}

    trainer = trainer_of(callbacks=[Recorder])
    best = trainer.hyperparameter_search(space, loss, n_trials=1)
    assert set(best.hyperparameters) == {"learning_rate", "weight_decay", "max_steps"}
    trainer.train(trial=best.hyperparameters)
    study = optuna.load_study(study_name="search", storage="sqlite:///out/search/optuna.db")
    trainer_of(callbacks=[Recorder]).train(trial=study.best_trial)  # In another process, without a search before it.
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][3] == best.hyperparameters
    assert trainer.evaluate()["eval_loss"] == pytest.approx(best.objective, rel=1e-5)


def test_a_model_init_with_a_trial_gets_what_it_may_have_suggested_besides():
    numbers = optuna.distributions.FloatDistribution(-9, 9)
    given = {"params": {"log_rate": -1.0, "rate": 0.5}, "distributions": {"log_rate": numbers, "rate": numbers}}
    trial = optuna.trial.create_trial(value=0.0, user_attrs={RETURNED: {"rate": 0.1, "steps": 3}}, **given)
    assert found_params(trial, takes_trial=True) == {"log_rate": -1.0, "rate": 0.1, "steps": 3}
    assert found_params(trial, takes_trial=False) == {"rate": 0.1, "steps": 3}
    assert found_params(optuna.trial.create_trial(value=0.0, **given), takes_trial=False) == given["params"]


def test_an_interrupted_trial_that_saves_no_state_begins_anew_in_its_run():
    steps = []

    class Interrupted(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **more):
            steps.append(state.global_step)
            if steps == [1, 2]:
                raise KeyboardInterrupt

    def rates(trial):
        return {"learning_rate": trial.suggest_float("learning_rate", 0, 1)}

    options = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1, "save_only_model": True}
    runs = []
    for _ in range(2):
        try:
            trainer_of(callbacks=[Interrupted], **options).hyperparameter_search(rates, loss, n_trials=1)
        except KeyboardInterrupt:
            assert pathlib.Path("out/run-0/checkpoint-1").exists()
        study = optuna.load_study(study_name="search", storage="sqlite:///out/search/optuna.db")
        runs.append(study.trials[0].user_attrs["run_id"])
    assert steps == [1, 2, 1, 2, 3]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"]
    assert runs[0] == runs[1]


def test_a_partial_function_makes_the_model():
    given = []

    def make(trial=None, width=8):
        given.append((trial, width))
        return classifier("keras")

    def make_wide(width):
        return make("none", width)

    def make_named(*, width=5):
        return make("none", width)

    trainer_of(functools.partial(make, width=4)).call_model_init("a trial")
    assert given == [(None, 4), ("a trial", 4)]
    for made in (functools.partial(make_wide, width=4), functools.partial(make_wide, 4), make_named):
        given.clear()
        trainer = trainer_of(made)
        trainer.call_model_init("a trial")
        assert given == [("none", 5 if made is make_named else 4)] * 2
        with pytest.raises(SettingError, match=r"hp_space='width'.*model_init takes no trial"):
            trainer.hyperparameter_search(lambda trial: {"width": trial.suggest_int("width", 1, 4)})
    with pytest.raises(SettingError, match=r"a function of no argument, or of the trial"):
        trainer_of(make)


@pytest.mark.parametrize(
    ("found", "values"),
    [
        (np.array([1.0, 2.0]), [1.0, 2.0]),
        nightly(np.array([[1.5]], "float32"), [1.5]),
        nightly(np.float32(1.5), [1.5]),
        nightly(np.array(1), [1.0]),
        nightly((np.float64(1.0), 2), [1.0, 2.0]),
    ],
)
def test_objectives_may_be_arrays(found, values):
    assert objective_values(lambda metrics: found, {}, len(values)) == values
    with pytest.raises(SettingError, match=f"returns {len(values) + 1} number"):
        objective_values(lambda metrics: found, {}, len(values) + 1)


def test_a_search_that_the_time_limit_ends_before_its_first_trial_says_so(caplog):
    caplog.set_level("INFO")
    with pytest.raises(SearchError, match=r"None of the 0 trials .* ended them: the time limit \(timeout=0\)\."):
        trainer_of().hyperparameter_search(n_trials=2, timeout=0)
    assert "has ended" not in caplog.text
