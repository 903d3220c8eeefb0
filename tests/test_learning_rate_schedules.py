"""Every schedule of transformers against its formula written by hand, and against transformers itself on PyTorch."""

from __future__ import annotations

import json
import math
import os
import pathlib
import subprocess
from typing import get_args

import numpy as np
import pytest
import tiny
from helpers import KERASES, finish, history, needs, nightly, samples, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import host_of
from tf_hfwb.resume.checkpoint_participants import PLATEAU
from tf_hfwb.trainer.arguments import argument_values
from tf_hfwb.trainer.arguments.schedule_options import options_of_schedule
from tf_hfwb.trainer.optimization.learning_rate_schedules import create_schedule

pytestmark = pytest.mark.keras3

PEAK = 3e-4
CASES = [
    ("linear", {}),
    ("cosine", {}),
    ("cosine", {"num_cycles": 1.5}),
    ("cosine", {"num_cycles": 0.3}),
    ("cosine_with_restarts", {}),
    ("cosine_with_restarts", {"num_cycles": 4}),
    ("polynomial", {}),
    ("polynomial", {"power": 2.0, "lr_end": 1e-5}),
    ("constant", {}),
    ("constant_with_warmup", {}),
    ("inverse_sqrt", {}),
    ("cosine_with_min_lr", {"min_lr": 3e-5}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.25, "num_cycles": 1.0}),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1}),
    ("cosine_warmup_with_min_lr", {"min_lr": 1e-5, "warmup_lr_rate": 0.2}),
    ("warmup_stable_decay", {"num_decay_steps": 5}),
    ("warmup_stable_decay", {"num_decay_steps": 7, "decay_type": "1-sqrt", "min_lr_ratio": 0.1}),
    ("warmup_stable_decay", {"num_decay_steps": 6, "decay_type": "linear", "warmup_type": "1-sqrt"}),
    ("warmup_stable_decay", {"num_decay_steps": 4, "num_stable_steps": 3, "warmup_type": "cosine", "num_cycles": 1.0}),
]
KINDS = get_args(argument_values.Schedule)
LENGTHS = [(0, 23), (1, 23), (6, 23), (23, 23)]


def test_every_kind_is_among_the_cases():
    assert {kind for kind, _ in CASES} | {"reduce_lr_on_plateau"} == set(KINDS)


def wave(turns: float) -> float:
    return 0.5 * (1 + math.cos(2 * math.pi * turns))


def raised(factor: float, least: float) -> float:
    return max(0.0, factor * (1 - least) + least)


def stable_by_hand(step: int, warmup: int, total: int, options) -> float:
    """The factor of ``warmup_stable_decay``."""
    least, decay = options.get("min_lr_ratio", 0.0), options["num_decay_steps"]
    stable = options.get("num_stable_steps", total - warmup - decay)
    if step < warmup:
        done = step / max(1, warmup)
        shapes = {"linear": done, "cosine": 1 - wave(done / 2), "1-sqrt": 1 - math.sqrt(1 - done)}
        return raised(shapes[options.get("warmup_type", "linear")], least)
    if step < warmup + stable:
        return 1.0
    if step >= warmup + stable + decay:
        return least
    done = (step - warmup - stable) / max(1, decay)
    turns = options.get("num_cycles", 0.5) * done
    shapes = {"linear": 1 - done, "cosine": wave(turns), "1-sqrt": 1 - math.sqrt(done)}
    return raised(shapes[options.get("decay_type", "cosine")], least)


def rate_by_hand(kind: str, step: int, warmup: int, total: int, options) -> float:
    """The rate of ``transformers.get_scheduler`` at a step."""
    if kind == "warmup_stable_decay":
        return PEAK * stable_by_hand(step, warmup, total, options)
    if kind == "constant":
        return PEAK
    if step < warmup:
        first = options.get("warmup_lr_rate")
        if kind == "cosine_warmup_with_min_lr" and first is None:
            return PEAK * (step + 1) / max(1, warmup)
        if first is not None:
            return PEAK * (first + (1 - first) * step / max(1, warmup - 1))
        return PEAK * step / max(1, warmup)
    done = (step - warmup) / max(1, total - warmup)
    cycles = options.get("num_cycles", 0.5)
    least = options.get("min_lr_rate", options.get("min_lr", 0.0) / PEAK)
    if kind == "cosine_warmup_with_min_lr":
        done = (step - warmup + 1) / max(1, total - warmup)
    if kind.startswith("cosine_with_restarts"):
        return 0.0 if done >= 1 else PEAK * wave((options.get("num_cycles", 1) * done) % 1 / 2)
    if kind.startswith("cosine"):
        return PEAK * raised(wave(cycles * done), least)
    if kind == "polynomial":
        end = options.get("lr_end", 1e-7)
        return (PEAK - end) * max(0.0, 1 - done) ** options.get("power", 1.0) + end
    timescale = warmup or 10_000
    factors = {"linear": 1 - done, "constant_with_warmup": 1.0}
    return PEAK * factors.get(kind, 1 / math.sqrt((step - warmup + timescale) / timescale))


def rates_of(host, kind: str, options, warmup: int, total: int, poly_power: float = 1.0) -> list[float]:
    every = {"power": poly_power, **options_of_schedule(kind, options)}
    schedule = create_schedule(host, kind, PEAK, warmup, total, every)
    return [float(schedule(step)) if callable(schedule) else schedule for step in range(total)]


@pytest.mark.parametrize("package", KERASES)
def test_every_schedule_follows_its_formula(package):
    host = host_of(tiny.functional(package))
    for kind, options in CASES:
        for warmup, total in LENGTHS:
            expected = [rate_by_hand(kind, step, warmup, total, options) for step in range(total)]
            np.testing.assert_allclose(
                rates_of(host, kind, options, warmup, total),
                expected,
                rtol=2e-6 if options.get("num_cycles", 0.5) == 0.5 else 1e-5,
                atol=PEAK * (1e-15 if options.get("num_cycles", 0.5) == 0.5 else 1e-7),
                err_msg=f"{kind} {options} {warmup}",
            )


@needs("tf_keras")
def test_inverse_sqrt_has_a_timescale_of_its_own():
    """transformers' function takes it, and its Trainer drops it."""
    rates = rates_of(host_of(tiny.functional("tf_keras")), "inverse_sqrt", {"timescale": 50}, 4, 20)
    expected = [PEAK * (step / 4 if step < 4 else math.sqrt(50 / (50 + step - 4))) for step in range(20)]
    np.testing.assert_allclose(rates, expected, rtol=2e-6)


THEIRS = """
import json, sys, torch, transformers
cases, lengths, peak = json.loads(sys.argv[1])
found = []
for kind, options in cases:
    for warmup, total in lengths:
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=peak)
        schedule = transformers.get_scheduler(kind, optimizer, warmup, total, dict(options) or None)
        rates = [optimizer.param_groups[0]["lr"]]
        for _ in range(total - 1):  # At the step behind the last one transformers may divide by 0.
            optimizer.step()
            schedule.step()
            rates.append(optimizer.param_groups[0]["lr"])
        found.append(rates)
print(json.dumps(found))
"""


PLATEAUS = """
import json, sys, torch, transformers
options, values, peak = json.loads(sys.argv[1])
optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=peak)
schedule = transformers.get_scheduler("reduce_lr_on_plateau", optimizer, 0, 0, options)
rates = [peak]
for value in values:
    schedule.step(value)
    rates.append(optimizer.param_groups[0]["lr"])
print(json.dumps(rates))
"""


def with_pytorch(script: str, *values):
    """What a script prints as JSON in the environment whose Python ``TF_HFWB_TORCH_PYTHON`` names."""
    interpreter = os.environ.get("TF_HFWB_TORCH_PYTHON")
    if not interpreter:
        pytest.skip("TF_HFWB_TORCH_PYTHON names no Python with PyTorch and transformers")
    command = [interpreter, "-c", script, json.dumps(values)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.mark.nightly
@needs("tf_keras")
def test_every_schedule_is_that_of_transformers():
    host = host_of(tiny.functional("tf_keras"))
    # transformers takes no options for inverse_sqrt, whose timescale is then the warm-up.
    theirs = iter(with_pytorch(THEIRS, CASES, LENGTHS, PEAK))
    for kind, options in CASES:
        for warmup, total in LENGTHS:
            rates, expected = rates_of(host, kind, options, warmup, total), next(theirs)
            np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=PEAK * 1e-7, err_msg=f"{kind} {options}")


SCORES = [0.5, 0.4, 0.45, 0.41, 0.39, 0.3899, 0.39, 0.6, 0.2, 0.3, 0.25]
PLATEAU_OPTIONS = [
    {"patience": 1},
    {"patience": 0, "factor": 0.5, "cooldown": 1, "min_lr": 1e-4},
    {"patience": 1, "mode": "max", "threshold": 0.05, "threshold_mode": "abs"},
    {"patience": 0, "threshold": 0.01, "eps": 1e-4, "factor": 0.7},
    {"patience": 0, "mode": "max", "threshold": 0.2},
]


def plateau_by_hand(options, values) -> list[float]:
    """The rates of PyTorch's ReduceLROnPlateau, before each of the values and after the last."""
    is_max, is_relative = options.get("mode") == "max", options.get("threshold_mode") != "abs"
    threshold, sign = options.get("threshold", 1e-4), 1 if options.get("mode") == "max" else -1
    rate, best, bad, cooldown = PEAK, -sign * math.inf, 0, 0
    rates = [rate]
    for value in values:
        limit = best * (1 + sign * threshold) if is_relative else best + sign * threshold
        if value > limit if is_max else value < limit:
            best, bad = value, 0
        else:
            bad += 1
        if cooldown:
            cooldown, bad = cooldown - 1, 0
        if bad > options.get("patience", 10):
            lower = max(rate * options.get("factor", 0.1), options.get("min_lr", 0.0))
            rate = lower if rate - lower > options.get("eps", 1e-8) else rate
            cooldown, bad = options.get("cooldown", 0), 0
        rates.append(rate)
    return rates


def plateau_trainer(package: str, options, *, model=None, **values) -> TFTrainer:
    """A trainer that evaluates after each step and finds the scores, one after the other."""
    arguments = {
        "learning_rate": PEAK,
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": options,
        "metric_for_best_model": "score",
        "greater_is_better": options.get("mode") == "max",
        "max_steps": len(SCORES),
        "logging_steps": 1,
        "eval_strategy": "steps",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    data = tiny.named(samples(40))
    trainer = TFTrainer(
        model or tiny.functional(package),
        TFTrainingArguments(**{**arguments, **values}),
        train_dataset=data,
        eval_dataset=data,
        compute_metrics=lambda prediction: {"score": SCORES[int(trainer.model.optimizer.iterations) - 1]},
    )
    return trainer


def rates_of_rows() -> list[float]:
    return [row["train/learning_rate"] for row in train_rows(history(finish()))]


@pytest.mark.parametrize("options", [PLATEAU_OPTIONS[0], *map(nightly, PLATEAU_OPTIONS[1:])], ids=str)
@pytest.mark.parametrize("package", ["keras", nightly("tf_keras")])
def test_the_rate_falls_on_a_plateau(package, options):
    plateau_trainer(package, options).train()
    np.testing.assert_allclose(rates_of_rows(), plateau_by_hand(options, SCORES)[:-1], rtol=1e-6)


@pytest.mark.nightly
@pytest.mark.parametrize("options", [PLATEAU_OPTIONS[0], *map(nightly, PLATEAU_OPTIONS[1:])], ids=str)
def test_plateaus_are_those_of_pytorch(options):
    np.testing.assert_allclose(plateau_by_hand(options, SCORES), with_pytorch(PLATEAUS, options, SCORES, PEAK))


@pytest.mark.nightly
@pytest.mark.parametrize("package", KERASES)
def test_plateaus_are_counted_on_after_a_resume(package):
    options = PLATEAU_OPTIONS[1]
    saved = {"save_strategy": "steps", "save_steps": 1}
    plateau_trainer(package, options, max_steps=6, **saved).train()
    finish()
    plateau_trainer(package, options, **saved).train(resume_from_checkpoint=True)
    expected = plateau_by_hand(options, SCORES)[:-1]
    assert len(set(expected[:6])) > 1
    rows = {row["train/global_step"]: row["train/learning_rate"] for row in train_rows(history(finish()))}
    np.testing.assert_allclose([rows[step] for step in range(7, 12)], expected[6:], rtol=1e-6)


@pytest.mark.parametrize("package", ["keras", nightly("tf_keras")])
def test_what_was_the_best_by_another_metric_counts_no_more_after_a_resume(package):
    saved = {"save_strategy": "steps", "save_steps": 1, "eval_steps": 1, "load_best_model_at_end": True}
    options = {"mode": "max", "patience": 50}
    first = plateau_trainer(package, options, max_steps=2, **saved)
    first.train()
    assert first.state.best_metric == max(SCORES[:2])
    other = plateau_trainer(package, options, max_steps=4, metric_for_best_model="other", **saved)
    other.compute_metrics = lambda prediction: {"other": -1.0 - int(other.model.optimizer.iterations)}
    other.train(resume_from_checkpoint=True)
    assert (other.state.best_metric, other.state.best_global_step) == (-4.0, 3)
    assert other.state.best_model_checkpoint.endswith("checkpoint-3")
    facts = json.loads(pathlib.Path(other.args.output_dir, "checkpoint-4/trainer_state.json").read_text())
    plateau = facts["callbacks"][PLATEAU]
    assert (plateau["metric"], plateau["best"], plateau["bad"]) == ("eval_other", -4.0, 1)


@pytest.mark.parametrize("package", KERASES)
def test_a_plateau_needs_a_rate_that_can_be_changed(package):
    model = tiny.functional(package)
    host = host_of(model)
    schedule = create_schedule(host, "linear", PEAK, 0, 10, {"power": 1.0})
    trainer = plateau_trainer(package, {"patience": 0}, model=model)
    own = TFTrainer(
        model,
        trainer.args,
        train_dataset=trainer.train_dataset,
        eval_dataset=trainer.eval_dataset,
        optimizers=(host.keras.optimizers.SGD(schedule), None),
    )
    with pytest.raises(
        SettingError, match=r"lr_scheduler_type='reduce_lr_on_plateau' cannot be used\. Expected another"
    ):
        own.train()


@needs("tf_keras")
def test_the_linear_schedule_has_the_power_of_the_former_tf_trainer():
    """transformers' TFTrainer had a PolynomialDecay to 0 with ``poly_power``, which was linear by default."""
    args = TFTrainingArguments(poly_power=2.0)
    assert args.schedule_options() == {"power": 2.0}
    host = host_of(tiny.functional("tf_keras"))
    rates = rates_of(host, "linear", {}, 0, 10, poly_power=2.0)
    np.testing.assert_allclose(rates, [PEAK * (1 - step / 10) ** 2 for step in range(10)], rtol=1e-6)
    polynomial = TFTrainingArguments(lr_scheduler_type="polynomial", poly_power=3.0)
    assert polynomial.schedule_options() == {"lr_end": 1e-7, "power": 3.0}


@pytest.mark.parametrize("given", [nightly({"num_cycles": 2}), '{"num_cycles": 2}'])
def test_options_reach_the_training(given):
    args = TFTrainingArguments(
        learning_rate=PEAK,
        lr_scheduler_type="cosine_with_restarts",
        lr_scheduler_kwargs=given,
        warmup_steps=2,
        max_steps=10,
        logging_steps=1,
        disable_tqdm=True,
    )
    assert args.to_dict()["lr_scheduler_kwargs"] == {"num_cycles": 2}
    TFTrainer(tiny.functional("keras"), args, train_dataset=tiny.named(samples(40))).train()
    rates = [row["train/learning_rate"] for row in train_rows(history(finish()))]
    expected = [rate_by_hand("cosine_with_restarts", step, 2, 10, {"num_cycles": 2}) for step in range(10)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr_scheduler_kwargs": "x"}, "lr_scheduler_kwargs='x' cannot be used. Expected a dict, or a JSON object"),
        ({"lr_scheduler_kwargs": [1]}, "lr_scheduler_kwargs=[1] cannot be used. Expected a dict, or a JSON object"),
        ({"lr_scheduler_kwargs": {"power": 2}}, "lr_scheduler_kwargs={'power': 2} cannot be used. Expected no options"),
        (
            {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"cycles": 2}},
            "lr_scheduler_kwargs={'cycles': 2} cannot be used. Expected one of num_cycles, with 'cosine', and not",
        ),
        (
            {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycles": "2"}},
            "lr_scheduler_kwargs['num_cycles']='2' cannot be used. Expected a number, 0 or more",
        ),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "lr_scheduler_kwargs={} cannot be used. Expected min_lr or min"),
        (
            {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-9, "min_lr_rate": 0.1}},
            "lr_scheduler_kwargs={'min_lr': 1e-09, 'min_lr_rate': 0.1} cannot be used. Expected min_lr or min_lr_rate",
        ),
        (
            {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 0.0}, "learning_rate": 0.0},
            "learning_rate=0.0 cannot be used. Expected more than 0.0, with 'cosine_with_min_lr'",
        ),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "lr_scheduler_kwargs={} cannot be used. Expected num_decay_ste"),
        (
            {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 1.5}},
            "lr_scheduler_kwargs['num_decay_steps']=1.5 cannot be used. Expected a whole number, 0 or more",
        ),
        (
            {"lr_scheduler_type": "polynomial", "learning_rate": 1e-8},
            "learning_rate=1e-08 cannot be used. Expected more than 1e-07, with 'polynomial'",
        ),
        ({"lr_scheduler_type": "cosine", "poly_power": 2.0}, "poly_power=2.0 cannot be used. Expected 1.0 with lr_sch"),
        (
            {"lr_scheduler_type": "polynomial", "poly_power": 2.0, "lr_scheduler_kwargs": {"power": 3.0}},
            "poly_power=2.0 cannot be used. Expected 1.0 with lr_scheduler_type='polynomial' and lr_scheduler_kwargs={",
        ),
        ({"poly_power": -1.0}, "poly_power=-1.0 cannot be used. Expected a finite number, 0 or more"),
        (
            {"lr_scheduler_type": "reduce_lr_on_plateau"},
            "eval_strategy='no' cannot be used. Expected 'steps' or 'epoch",
        ),
        (
            {
                "lr_scheduler_type": "reduce_lr_on_plateau",
                "eval_strategy": "epoch",
                "metric_for_best_model": "accuracy",
            },
            "lr_scheduler_kwargs=None cannot be used. Expected a mode, with metric_for_best_model='accuracy'",
        ),
        (
            {
                "lr_scheduler_type": "reduce_lr_on_plateau",
                "eval_strategy": "epoch",
                "lr_scheduler_kwargs": {"factor": 1.0},
            },
            "lr_scheduler_kwargs['factor']=1.0 cannot be used. Expected a number from 0 to below 1",
        ),
    ],
)
def test_what_a_schedule_cannot_use_is_refused(values, message):
    with pytest.raises(SettingError) as error:
        TFTrainingArguments(**values)
    assert str(error.value).startswith(message)


@needs("tf_keras")
@pytest.mark.parametrize("kind", ["constant", "reduce_lr_on_plateau"])
def test_a_warm_up_without_effect_is_named(kind, caplog):
    host = host_of(tiny.functional("tf_keras"))
    assert create_schedule(host, kind, PEAK, 0, 10, {}) == PEAK
    assert not caplog.records
    assert create_schedule(host, kind, PEAK, 3, 10, {}) == PEAK
    assert f"3 warm-up steps have no effect with lr_scheduler_type='{kind}'" in caplog.text
