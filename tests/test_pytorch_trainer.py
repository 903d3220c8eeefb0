"""``TFTrainer`` against the PyTorch ``Trainer`` itself: the course of a training, what callbacks want, weights."""

from __future__ import annotations

import pytest
from helpers import nightly
from trainer_comparison import BY_EPOCHS, Case, by_pytorch, by_steps, course_differences, update_differences

GRID = {
    "nothing asked for": {},
    "one and a half epochs": {**BY_EPOCHS, "num_train_epochs": 1.5, "logging_strategy": "steps", "logging_steps": 1},
    "less than an epoch": {**BY_EPOCHS, "num_train_epochs": 0.4},
    "an odd share of epochs": {**BY_EPOCHS, "num_train_epochs": 2.34},
    "fewer steps than epochs": {**BY_EPOCHS, "max_steps": 4},
    "more steps than epochs": {**by_steps(2, 2, 2), "max_steps": 8},
    "accumulation with a rest": {**BY_EPOCHS, "gradient_accumulation_steps": 2},
    "accumulation by steps": {**by_steps(2, 2, 2), "gradient_accumulation_steps": 2},
    "an epoch is one step": {"gradient_accumulation_steps": 3, "logging_steps": 1},
    "an epoch is less than a step": {"gradient_accumulation_steps": 4, "logging_steps": 1, "num_train_epochs": 3},
    "accumulation, part of an epoch": {**BY_EPOCHS, "gradient_accumulation_steps": 2, "num_train_epochs": 1.5},
    "accumulation, some steps": {**BY_EPOCHS, "gradient_accumulation_steps": 2, "max_steps": 3},
    "accumulation divides the epoch": {
        **by_steps(1, 3, 3),
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 2,
    },
    "the last batch dropped": {**BY_EPOCHS, "dataloader_drop_last": True, "per_device_eval_batch_size": 11},
    "dropped, with accumulation": {
        **BY_EPOCHS,
        "dataloader_drop_last": True,
        "per_device_eval_batch_size": 11,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
    },
    "odd batches": {**by_steps(2, 2, 2), "per_device_train_batch_size": 3, "per_device_eval_batch_size": 5},
    "a batch larger than the data": {**by_steps(1, 2, 2), "per_device_train_batch_size": 64},
    "the first step too": {"logging_first_step": True, "logging_steps": 3},
    "only the first step": {"logging_first_step": True, "logging_strategy": "no"},
    "the first step and epochs": {"logging_first_step": True, "logging_strategy": "epoch"},
    "evaluations without rows": {"logging_strategy": "no", "eval_strategy": "epoch"},
    "shares of all steps": by_steps(0.1, 0.3, 0.6),
    "larger shares": {**by_steps(0.25, 0.5, 0.5), "num_train_epochs": 4},
    "evaluations with rows": {"logging_steps": 3, "eval_strategy": "steps"},
    "evaluations from a step on": {**by_steps(2, 2, 2), "eval_delay": 3},
    "evaluations from an epoch on": {**BY_EPOCHS, "eval_delay": 1.5, "num_train_epochs": 3},
    "an evaluation at the start": {**by_steps(2, 2, 2), "eval_on_start": True},
    "an evaluation at the start only": {"eval_on_start": True},
    "the best by steps": {**by_steps(2, 1, 2), "save_strategy": "best", "metric_for_best_model": "accuracy"},
    "the best by epochs": {
        **BY_EPOCHS,
        "save_strategy": "best",
        "metric_for_best_model": "loss",
        "num_train_epochs": 4,
    },
    "the best at the end": {**BY_EPOCHS, "load_best_model_at_end": True, "num_train_epochs": 4, "learning_rate": 3.0},
    "the most accurate at the end": {
        **by_steps(2, 2, 2),
        "load_best_model_at_end": True,
        "metric_for_best_model": "accuracy",
        "num_train_epochs": 4,
        "learning_rate": 3.0,
    },
    "the best and the newest": {
        **by_steps(2, 2, 2),
        "load_best_model_at_end": True,
        "save_total_limit": 1,
        "num_train_epochs": 4,
        "learning_rate": 3.0,
    },
    "the two newest": {**by_steps(2, 2, 2), "save_total_limit": 2, "num_train_epochs": 4},
    "a metric for the best": {**BY_EPOCHS, "metric_for_best_model": "eval_loss", "greater_is_better": False},
    "a metric, nothing saved": {"eval_strategy": "epoch", "metric_for_best_model": "eval_loss"},
    "warm-up by steps": {"warmup_steps": 2, "logging_steps": 1},
    "warm-up beyond the end": {"warmup_steps": 20, "logging_steps": 1},
    "a cosine": {"warmup_steps": 1, "logging_steps": 1, "lr_scheduler_type": "cosine"},
    "saves apart from rows": {"save_strategy": "steps", "save_steps": 4, "logging_strategy": "epoch"},
    "losses only": {**BY_EPOCHS, "prediction_loss_only": True},
}
GRID = {name: Case(args) for name, args in GRID.items()}
OFTEN = ["accumulation with a rest", "an evaluation at the start", "the most accurate at the end"]


@pytest.mark.parametrize(
    ("kind", "names", "is_silent"),
    [
        ("keras", OFTEN, False),
        nightly("keras", [name for name in GRID if name not in OFTEN], False),
        nightly("keras", list(GRID), True),
        nightly("tf_keras", list(GRID), False),
    ],
)
def test_a_training_takes_the_same_course(kind, names, is_silent, answers_to):
    """Steps, rows, learning rates, evaluations, checkpoints, the state and, with a callback, all events.

    Evaluations by steps fall on the last step: transformers 5 evaluates it in any case, and 4.57 only where it is due.
    """
    cases = {name: GRID[name] for name in names}
    assert course_differences(cases, answers_to(cases), kind, is_silent=is_silent) == {}


FLAGS = ["should_log", "should_evaluate", "should_save", "should_epoch_stop", "should_training_stop"]
NOTHING = {"logging_strategy": "no"}
EACH_STEP = by_steps(1, 2, 1)  # Rows and checkpoints of each step: whichever is the last one has both.
EVENTS = {
    "on_train_begin": (NOTHING, [0]),
    "on_epoch_begin": (NOTHING, [0, 1, 3]),
    "on_step_begin": (NOTHING, [1, 3]),
    "on_optimizer_step": (NOTHING, [1, 4]),
    "on_step_end": (NOTHING, [1, 3]),
    "on_epoch_end": (NOTHING, [3]),
    "on_log": (EACH_STEP, [2, 3]),
    "on_evaluate": (EACH_STEP, [2, 4]),
    "on_prediction_step": (EACH_STEP, [2]),
    "on_save": (EACH_STEP, [1, 4]),
}
WISHES = {
    f"{flag} in {event}": Case(args, [{"flag": flag, "at": at, "event": event}])
    for event, (args, at) in EVENTS.items()
    for flag in FLAGS
}
WISHES |= {
    f"not {flag} in {event}": Case(args, [{"flag": flag, "at": [2, 4, 3], "event": event, "value": False}])
    for event, args in [("on_step_end", by_steps(2, 2, 2)), ("on_log", by_steps(2, 2, 2)), ("on_epoch_end", BY_EPOCHS)]
    for flag in FLAGS
}
WISHES["should_log in on_substep_end"] = Case(
    {**NOTHING, "gradient_accumulation_steps": 2}, [{"flag": "should_log", "at": [2], "event": "on_substep_end"}]
)
OFTEN_WISHED = ["should_epoch_stop in on_step_begin", "should_training_stop in on_train_begin"]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("keras", OFTEN_WISHED),
        nightly("keras", [name for name in WISHES if name not in OFTEN_WISHED]),
        nightly("tf_keras", list(WISHES)),
    ],
)
def test_what_a_callback_wants_has_the_same_consequences(kind, names, answers_to):
    cases = {name: WISHES[name] for name in names}
    assert course_differences(cases, answers_to(cases), kind) == {}


SHARED = {"learning_rate": 1e-3, "logging_steps": 1, "per_device_train_batch_size": 2}
KINDS = {
    "one batch": {},
    "two batches": {"gradient_accumulation_steps": 2},
    "three batches": {"gradient_accumulation_steps": 3, "max_grad_norm": 0.0},
    "a rest": {"gradient_accumulation_steps": 4, "weight_decay": 0.3, "max_grad_norm": 0.05},
    "descent": {"gradient_accumulation_steps": 2, "optim": "sgd", "max_grad_norm": 0.0, "learning_rate": 0.1},
    "smoothed": {"label_smoothing_factor": 0.1, "max_grad_norm": 0.0},
    "two smoothed": {"label_smoothing_factor": 0.1, "gradient_accumulation_steps": 2, "max_grad_norm": 0.0},
}
UPDATES = {
    f"{model}, {kind}": Case({**SHARED, **args}, model=model)
    for model in ("bert", "distilbert", "gpt2", "t5")
    for kind, args in KINDS.items()
    if model != "t5" or "smoothed" not in kind  # PyTorch's T5 needs a collator that makes its decoder's inputs.
}
OFTEN_UPDATED = ["gpt2, descent", "gpt2, two smoothed", "distilbert, a rest"]


@pytest.mark.nightly
@pytest.mark.parametrize("names", [OFTEN_UPDATED, nightly([name for name in UPDATES if name not in OFTEN_UPDATED])])
def test_updates_are_the_same(names, answers_to):
    """Labels of unequal numbers, so that it shows over what a mean is taken; the last group of an epoch is smaller."""
    cases = {name: UPDATES[name] for name in names}
    assert update_differences(cases, answers_to(cases)) == {}


@pytest.fixture(scope="module")
def answers_to():
    """PyTorch's answers. Each process takes seconds to import it, so the cases that are tested often have one."""
    all_cases = GRID | WISHES | UPDATES
    often = {name: all_cases[name] for name in [*OFTEN, *OFTEN_WISHED, *OFTEN_UPDATED]}
    known: dict[str, dict] = {}

    def answers(cases):
        if not cases.keys() <= known.keys():
            asked = often if cases.keys() <= often.keys() else cases
            known.update(zip(asked, by_pytorch(list(asked.values())), strict=True))
        return [known[name] for name in cases]

    return answers
