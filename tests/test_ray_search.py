"""Searches with Ray Tune: real processes of Ray on this machine."""

from __future__ import annotations

import glob
import json
import os
import signal
import sys
import time
from collections import defaultdict

import pytest
import tensorflow as tf
import tiny
import transformers
from helpers import history, records, samples

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SettingError

ray = pytest.importorskip("ray")
tune = pytest.importorskip("ray.tune")
from ray import cloudpickle  # noqa: E402
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining  # noqa: E402

EPOCHS, STEPS = 4, 12  # Three steps an epoch.


class Shifted(TFTrainer):
    """With an attribute of its own, which counts in another process."""

    def __init__(self, shift: float, **options) -> None:
        self.before = "set before the constructor of the trainer"
        super().__init__(**options)
        self.shift, self._hidden = shift, 1

    def evaluate(self, *arguments, **options):
        assert (self.before, self._hidden) == ("set before the constructor of the trainer", 1)
        metrics = super().evaluate(*arguments, **options)
        return {**metrics, "eval_shifted": metrics["eval_loss"] + self.shift}


class EndsIts(transformers.TrainerCallback):
    """Ends a trial, or its process, once."""

    def __init__(self, rate, step, how) -> None:
        self.rate, self.step, self.how = rate, step, how

    def on_step_end(self, args, state, control, **more):
        if args.learning_rate != self.rate or state.global_step != self.step or os.path.exists("ended"):
            return
        if self.how == "exception":
            raise ValueError("no luck")
        with open("ended", "w"):
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def cluster():
    """One for all tests, as a user may have one: it takes long to begin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def in_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def searching(kind="tf_keras", trainer=Shifted, **options):
    data = tiny.named(samples(12))
    defaults = {"eval_strategy": "epoch", "save_strategy": "no", "per_device_train_batch_size": 4, "logging_steps": 1}
    args = TFTrainingArguments("out", **{"num_train_epochs": EPOCHS, "disable_tqdm": True, **defaults, **options})
    return trainer(
        **({"shift": 10.0} if trainer is Shifted else {}),
        args=args,
        model_init=lambda: tiny.functional(kind),
        train_dataset=data,
        eval_dataset=data,
    )


def rates(*values):
    return lambda _: {"learning_rate": tune.grid_search(list(values))}


def objective(metrics):
    return metrics["eval_shifted"]


def runs():
    """The rows of each run of a trial, over all its parts; and its last records."""
    rows, last = defaultdict(list), {}
    for directory in sorted(glob.glob("wandb/offline-run-*")):
        name = directory.rsplit("-", 1)[1]
        rows[name] += history(directory)
        last[name] = records(directory)
    return rows, last


def steps(rows):
    return [row["train/global_step"] for row in rows if "train/loss" in row]


def tags(found):
    return {tag for record in found if record["type"] == "run" for tag in record["run"].get("tags", [])}


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", "keras"])
def test_trials_run_in_processes_of_their_own(cluster, kind):
    trainer = searching(kind)
    trainer.add_callback(EndsIts(1e-3, 2, "exception"))  # Before its first evaluation.
    best = trainer.hyperparameter_search(
        rates(1e-3, 1e-1, 1e-2),
        objective,
        1,
        backend="ray",
        verbose=0,
        hp_name=lambda trial: str(trial["learning_rate"]),
    )
    found = {result.metrics["trial_id"]: result.metrics for result in best.run_summary}
    assert {one["name"] for one in found.values()} == {"0.001", "0.1", "0.01"}
    assert sorted(one["state"] for one in found.values()) == ["complete", "complete", "failed"]
    [failed] = [one for one in found.values() if one["state"] == "failed"]
    assert failed["error"] == "ValueError: no luck"
    complete = {name: one["objective"] for name, one in found.items() if one["state"] == "complete"}
    assert best.objective == min(complete.values()) > 10
    assert best.run_id == min(complete, key=complete.get)
    rows, _ = runs()
    assert all(steps(rows[name]) == [*range(1, STEPS + 1)] for name in complete)
    assert steps(rows[failed["trial_id"]]) == [1]
    assert len(rows) == 4  # And the search's own.


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", "keras"])
def test_members_of_a_population_have_histories_without_a_gap(cluster, kind):
    # On a busy machine a member may end before the next one begins: without synch=True nobody may be copied then.
    scheduler = synchronous_population(quantile_fraction=0.5)
    best = searching(kind).hyperparameter_search(
        lambda _: {"learning_rate": tune.loguniform(1e-4, 1e-1)},
        objective,
        n_trials=3,
        backend="ray",
        scheduler=scheduler,
        verbose=0,
    )
    found = {result.metrics["trial_id"]: result.metrics for result in best.run_summary}
    assert {(one["state"], one["step"]) for one in found.values()} == {("complete", STEPS)}
    copied = {name: one["lineage"] for name, one in found.items() if one["lineage"]}
    assert copied
    for lineage in copied.values():
        donor, _, step = lineage.split(", ")[0].partition(" at step ")
        assert (donor in found, int(step) in (3, 6, 9)) == (True, True)
    rows, _ = runs()
    for name, one in found.items():
        assert sorted(steps(rows[name])) == [*range(1, STEPS + 1)]
        last = [row["eval/loss"] for row in rows[name] if row.get("train/global_step") == STEPS and "eval/loss" in row]
        assert last == [pytest.approx(one["objective"] - 10)]


@pytest.mark.nightly
def test_a_process_that_is_killed_is_replaced(cluster):
    trainer = searching(save_strategy="epoch")
    trainer.add_callback(EndsIts(1e-1, 8, "kill"))
    best = trainer.hyperparameter_search(rates(1e-1, 1e-2), objective, n_trials=1, backend="ray", verbose=0)
    assert os.path.exists("ended")
    found = {result.config["learning_rate"]: result.metrics for result in best.run_summary}
    assert {one["state"] for one in found.values()} == {"complete"}
    rows, _ = runs()
    for one in found.values():
        assert steps(rows[one["trial_id"]]) == [*range(1, STEPS + 1)]
    straight = searching(learning_rate=1e-1, report_to="none")
    straight.train()
    assert straight.evaluate()["eval_shifted"] == pytest.approx(found[1e-1]["objective"], rel=1e-6)


class FailsWhereOthersWait(transformers.TrainerCallback):
    """Ends the trial that is first at a step, when the other one has evaluated long ago."""

    def on_step_end(self, args, state, control, **more):
        if state.global_step == 5:
            try:
                open("ended", "x").close()
            except FileExistsError:
                return
            time.sleep(20)
            raise ValueError("no luck")


def synchronous_population(**options):
    return PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=1,
        hyperparam_mutations={"learning_rate": tune.loguniform(1e-3, 1e-1)},
        synch=True,
        **options,
    )


@pytest.mark.nightly
def test_a_synchronous_population_does_not_wait_for_a_member_that_has_ended(cluster):
    trainer = searching()
    trainer.add_callback(FailsWhereOthersWait())
    best = trainer.hyperparameter_search(
        rates(1e-1, 1e-2), objective, n_trials=1, backend="ray", scheduler=synchronous_population(), verbose=0
    )
    found = {result.metrics["trial_id"]: result.metrics for result in best.run_summary}
    assert sorted((one["state"], one["step"]) for one in found.values()) == [("complete", STEPS), ("failed", 3)]


class KillsTheSearch(transformers.TrainerCallback):
    """Ends the process that has begun the search, once."""

    def __init__(self, pid) -> None:
        self.pid = pid

    def on_step_end(self, args, state, control, **more):
        if state.global_step == 8 and not os.path.exists("ended"):
            with open("ended", "w"):
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(60)  # Ray ends this process.


KILLED = """
import json, os, sys
from test_ray_search import KillsTheSearch, objective, rates, searching, synchronous_population

scheduler = synchronous_population(quantile_fraction=0.5) if sys.argv[1] == "population" else None
trainer = searching(save_strategy="epoch")
trainer.add_callback(KillsTheSearch(os.getpid()))
best = trainer.hyperparameter_search(
    rates(1e-1, 1e-2, 1e-3), objective, n_trials=1, backend="ray", scheduler=scheduler, verbose=0
)
found = {result.metrics["trial_id"]: [result.metrics["state"], result.metrics["step"]] for result in best.run_summary}
print("\\n" + json.dumps([best.run_id, best.objective, found]))
"""


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["population", "alone"])
def test_a_search_that_is_killed_as_a_whole_continues(launcher, kind):
    def search():
        return launcher.start(KILLED, kind, PYTHONPATH=os.pathsep.join(sys.path)).wait(300)

    assert search().returncode == -signal.SIGKILL
    time.sleep(10)  # Ray's own processes end.
    first = {path.rsplit("-", 1)[1] for path in glob.glob("wandb/offline-run-*")}
    ended = search()
    assert ended.returncode == 0, ended.stderr
    name, _, found = json.loads(ended.stdout.splitlines()[-1])
    assert list(found.values()) == [["complete", STEPS]] * 3
    assert name in found
    assert first <= set(found)
    rows, _ = runs()
    for trial in found:
        assert sorted(steps(rows[trial])) == [*range(1, STEPS + 1)]
    # What has ended is returned at once, and another search is not mixed with it.
    assert json.loads(search().stdout.splitlines()[-1]) == json.loads(ended.stdout.splitlines()[-1])
    with pytest.raises(SettingError, match=r"n_trials=5 .*1, with which the search 'search' was begun"):
        searching().hyperparameter_search(rates(1e-1), objective, n_trials=5, backend="ray", verbose=0)


@pytest.mark.nightly
def test_trials_are_pruned(cluster):
    scheduler = ASHAScheduler(grace_period=1, max_t=EPOCHS, reduction_factor=2)
    options = {"scheduler": scheduler, "max_concurrent_trials": 1, "verbose": 0}
    best = searching().hyperparameter_search(rates(1e-1, 1e-9), objective, n_trials=1, backend="ray", **options)
    states = {result.config["learning_rate"]: result.metrics for result in best.run_summary}
    assert states[1e-1]["state"] == "complete"
    pruned = states[1e-9]
    assert pruned["step"] == 3
    rows, last = runs()
    assert steps(rows[pruned["trial_id"]]) == [1, 2, 3]
    assert tags(last[pruned["trial_id"]]) == {"pruned"}


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (lambda _: 3, {}, r"hp_space=3 .*tune.loguniform"),
        (rates(1, -2), {}, r"learning_rate=-2"),
        (lambda _: {"learning_rat": tune.uniform(0, 1)}, {}, r"'learning_rat'.*learning_rate"),
        (rates(1), {"direction": ["minimize", "maximize"]}, r"Ray's schedulers compare by one"),
        (rates(1), {"sceduler": 3}, r"'sceduler'.*scheduler"),
    ],
)
def test_mistakes_are_told_before_ray_begins(space, options, message):
    with pytest.raises(SettingError, match=message):
        searching(report_to="none").hyperparameter_search(space, objective, backend="ray", **options)


def test_what_compares_trials_needs_evaluations():
    trainer = searching(report_to="none", eval_strategy="no")
    with pytest.raises(SettingError, match=r"eval_strategy='no'.*AsyncHyperBandScheduler"):
        trainer.hyperparameter_search(rates(1), objective, backend="ray", scheduler=ASHAScheduler())
    with pytest.raises(SettingError, match=r"ray_scope='first'.*last-5-avg"):
        searching(report_to="none", ray_scope="first").hyperparameter_search(rates(1), objective, backend="ray")


def test_a_population_needs_whole_checkpoints():
    trainer = searching(report_to="none", save_only_model=True)
    scheduler = PopulationBasedTraining(perturbation_interval=1, hyperparam_mutations=rates(1)(None))
    with pytest.raises(SettingError, match=r"save_only_model=True.*PopulationBasedTraining trials continue from"):
        trainer.hyperparameter_search(rates(1), objective, backend="ray", scheduler=scheduler)


def test_what_cannot_be_pickled_is_told():
    trainer = searching(report_to="none")
    trainer.train_dataset = tf.data.Dataset.from_tensor_slices(trainer.train_dataset).batch(4)
    with pytest.raises(SettingError, match=r"backend='ray' .*can be pickled.*tf.data.Dataset"):
        trainer.hyperparameter_search(rates(1), objective, backend="ray")


def test_a_trainer_is_made_anew_elsewhere():
    trainer = searching(report_to="none")
    trainer.note = "added later"
    copy = cloudpickle.loads(cloudpickle.dumps(trainer))
    assert (type(copy), copy.shift, copy._hidden, copy.note) == (Shifted, 10.0, 1, "added later")
    assert copy.args == trainer.args
    assert copy.model is not trainer.model
    assert copy.train().global_step == STEPS
