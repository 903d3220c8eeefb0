"""``TFTrainer``: when it saves, what is best, and going on."""

from __future__ import annotations

import importlib
import json
import logging
import pathlib

import numpy as np
import pytest
import tf_keras
import tiny
from helpers import KERASES, eval_rows, finish, history, samples, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments, load_model
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import CheckpointError, SettingError


def trainer_of(kind="tf_keras", *, callbacks=(), output_dir="out", number=20, model=None, **arguments):
    defaults = {
        "report_to": "none",
        "disable_tqdm": True,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
    }
    args = TFTrainingArguments(output_dir=output_dir, **{**defaults, **arguments})
    data = tiny.named(samples(number))
    model = model or tiny.functional(kind, dropout=0.2)
    return TFTrainer(model, args, train_dataset=data, eval_dataset=tiny.named(samples(8, seed=1)), callbacks=callbacks)


def steps_in(directory="out") -> list[int]:
    return [checkpoint.step for checkpoint in Store(directory).checkpoints()]


def weights(trainer) -> list[np.ndarray]:
    return [np.array(weight) for weight in trainer.model.get_weights()]


def same(left, right) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("kind", KERASES)
@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({"save_strategy": "no"}, []),
        ({}, [10]),
        ({"save_steps": 4}, [4, 8, 10]),
        ({"save_steps": 0.25}, [3, 6, 9, 10]),
        ({"save_strategy": "epoch"}, [5, 10]),
        ({"save_strategy": "epoch", "max_steps": 7}, [5, 7]),
        ({"save_steps": 2, "save_total_limit": 2}, [8, 10]),
    ],
)
def test_save_strategies(kind, arguments, steps):
    trainer_of(kind, **arguments).train()
    assert steps_in() == steps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"save_strategy": "sometimes"}, "save_strategy='sometimes'"),
        ({"save_steps": 0}, "save_steps=0"),
        ({"save_steps": 1.5}, "save_steps=1.5"),
        ({"save_total_limit": 0}, "save_total_limit=0"),
        ({"save_strategy": "best"}, "metric_for_best_model=None"),
        ({"save_strategy": "best", "metric_for_best_model": "loss"}, "eval_strategy='no'"),
        ({"load_best_model_at_end": True}, "save_strategy='steps'.*eval_strategy='no'"),
        ({"load_best_model_at_end": True, "eval_strategy": "epoch"}, "save_strategy='steps'"),
        (
            {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 4, "save_steps": 6},
            "save_steps=6.*multiple of eval_steps=4",
        ),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(SettingError, match=message):
        TFTrainingArguments(**arguments)


def test_the_best_is_looked_for_by_its_loss_by_default():
    args = TFTrainingArguments(load_best_model_at_end=True, eval_strategy="epoch", save_strategy="epoch")
    assert args.metric_for_best_model == "loss"


class Scores:
    """What ``compute_metrics`` gives, one evaluation after the other."""

    def __init__(self, *values):
        self.values = list(values)

    def __call__(self, prediction):
        return {"score": self.values.pop(0)}


@pytest.mark.parametrize("kind", KERASES)
def test_saves_the_best_and_ends_with_it(kind):
    trainer = trainer_of(
        kind,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="best",
        metric_for_best_model="score",
        load_best_model_at_end=True,
        save_total_limit=2,
    )
    trainer.compute_metrics = Scores(0.0, 0.2, float("nan"), 0.2, 0.1)
    trainer.train()
    assert steps_in() == [2, 4]
    facts = Store("out").checkpoints()[-1].read_json("trainer_state.json")
    assert (facts["best_metric"], facts["best_step"]) == (0.2, 4)
    assert facts["metrics"]["eval/score"] == 0.2
    assert facts["arguments"]["save_strategy"] == "best"
    assert same(weights(trainer), [np.array(w) for w in load_model("out/checkpoint-4").get_weights()])


def test_less_is_better_when_it_is_said():
    trainer = trainer_of(
        "keras",
        eval_strategy="epoch",
        save_strategy="epoch",
        num_train_epochs=3,
        metric_for_best_model="eval_score",
        greater_is_better=False,
        save_total_limit=1,
    )
    trainer.compute_metrics = Scores(0.3, 0.1, 0.2)
    trainer.train()
    assert steps_in() == [10, 15]  # The best and the newest.


@pytest.mark.parametrize("kind", KERASES)
@pytest.mark.parametrize("stop", [3, pytest.param(5, marks=pytest.mark.nightly), 6])
def test_the_same_command_again_goes_on(kind, stop):
    """Evaluations by steps, rows, and Keras's own early stopping go on where they were."""
    arguments = {
        "report_to": "wandb",
        "logging_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "save_steps": 1,
        "lr_scheduler_type": "linear",
        "num_train_epochs": 3,
    }
    straight = trainer_of(kind, output_dir="straight", callbacks=[stopping(kind)], **arguments)
    whole = straight.train()
    directory = finish()

    interrupted = trainer_of(kind, callbacks=[stopping(kind), fail(kind, stop)], **arguments)
    with pytest.raises(InterruptedError):
        interrupted.train()
    resumed = trainer_of(kind, callbacks=[stopping(kind)], **arguments)
    assert steps_in()[-1] == stop
    rest = resumed.train(resume_from_checkpoint=True)
    finish()
    assert same(weights(straight), weights(resumed))
    assert (whole.global_step, whole.training_loss) == (rest.global_step, pytest.approx(rest.training_loss, rel=1e-6))
    folders = sorted(pathlib.Path("wandb").glob("offline-run-*"))
    rows = [
        row
        for folder in folders
        if str(folder.resolve()) != str(pathlib.Path(directory).resolve())
        for row in history(folder)
    ]
    assert untimed(train_rows(rows)) == untimed(train_rows(history(directory)))
    assert untimed(eval_rows(rows)) == untimed(eval_rows(history(directory)))
    guests = [trainer.callbacks[0] for trainer in (straight, resumed)]
    assert guests[0].wait == guests[1].wait
    assert guests[0].best == pytest.approx(guests[1].best)


def stopping(kind):
    keras = importlib.import_module(kind)
    return keras.callbacks.EarlyStopping(monitor="val_loss", patience=50)


def fail(kind, step):
    keras = importlib.import_module(kind)

    class Fail(keras.callbacks.Callback):
        """After a step that has been saved."""

        seen = 0

        def on_train_batch_begin(self, batch, logs=None):
            if self.seen == step + 1:
                raise InterruptedError
            self.seen += 1

    return Fail()


def untimed(rows):
    timed = ("_per_second", "runtime")
    return [{name: value for name, value in row.items() if not name.endswith(timed)} for row in rows]


def test_a_training_that_is_done_is_not_done_again(caplog):
    first = trainer_of(save_strategy="epoch")
    done = first.train(resume_from_checkpoint=True)  # There is none yet.
    second = trainer_of(save_strategy="epoch")
    with caplog.at_level(logging.WARNING):
        again = second.train(resume_from_checkpoint="True")
    assert "all 10 steps already" in caplog.text
    assert (again.global_step, again.training_loss) == (10, pytest.approx(done.training_loss))
    assert same(weights(first), weights(second))
    longer = trainer_of(save_strategy="epoch", max_steps=12)
    assert longer.train(resume_from_checkpoint="out/checkpoint-10").global_step == 12


def test_more_steps_go_on_in_the_middle_of_an_epoch():
    trainer_of(lr_scheduler_type="constant", max_steps=7).train()
    longer = trainer_of(lr_scheduler_type="constant", max_steps=10)
    longer.train(resume_from_checkpoint=True)
    straight = trainer_of(lr_scheduler_type="constant", max_steps=10, output_dir="straight")
    straight.train()
    assert same(weights(longer), weights(straight))


def test_there_is_nothing_to_go_on_from():
    with pytest.raises(CheckpointError, match="nowhere"):
        trainer_of().train(resume_from_checkpoint="nowhere")


def test_the_models_of_checkpoints_carry_the_tokenizer():
    model = tiny.bert()
    args = TFTrainingArguments("out", report_to="none", disable_tqdm=True, num_train_epochs=1, save_strategy="epoch")
    trainer = TFTrainer(model, args, train_dataset=tiny.classified(), processing_class=tiny.tokenizer())
    trainer.train()
    files = {path.name for path in pathlib.Path("out/checkpoint-2").iterdir()}
    assert files >= {"config.json", "model.safetensors", "tokenizer.json", "trainer_state.json", "manifest.json"}
    state = json.loads(pathlib.Path("out/checkpoint-2/trainer_state.json").read_text())
    assert state["log_history"] == []
    assert isinstance(model.optimizer, tf_keras.optimizers.Optimizer)
