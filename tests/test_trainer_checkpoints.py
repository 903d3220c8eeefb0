"""``TFTrainer``: when it saves, what is best, and going on."""

from __future__ import annotations

import errno
import importlib
import json
import logging
import os
import pathlib
import shutil
import signal
import time

import numpy as np
import pytest
import tf_keras
import tiny
from helpers import eval_rows, finish, history, nightly, samples, train_rows

from tf_hfwb import ComputeMetrics, EarlyStopping, TFTrainer, TFTrainingArguments, load_model
from tf_hfwb.checkpoint.store import Draft, Store
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


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({"save_strategy": "no"}, []),
        ({}, [10]),
        nightly({"save_steps": 4}, [4, 8, 10]),
        ({"save_steps": 0.25}, [3, 6, 9, 10]),
        nightly({"save_strategy": "epoch"}, [5, 10]),
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


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
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


def test_greater_is_better_can_be_false():
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


@pytest.mark.parametrize(
    ("kind", "stop"),
    [
        ("keras", 3),
        nightly("keras", 5),
        nightly("keras", 6),
        nightly("tf_keras", 3),
        nightly("tf_keras", 5),
        nightly("tf_keras", 6),
    ],
)
def test_the_same_command_again_resumes(kind, stop):
    """Evaluations by steps, rows, and Keras's own early stopping continue where they were."""
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


@pytest.mark.nightly
def test_more_steps_resume_in_the_middle_of_an_epoch():
    trainer_of(lr_scheduler_type="constant", max_steps=7).train()
    longer = trainer_of(lr_scheduler_type="constant", max_steps=10)
    longer.train(resume_from_checkpoint=True)
    straight = trainer_of(lr_scheduler_type="constant", max_steps=10, output_dir="straight")
    straight.train()
    assert same(weights(longer), weights(straight))


def test_there_is_nothing_to_resume_from():
    with pytest.raises(CheckpointError, match="nowhere"):
        trainer_of().train(resume_from_checkpoint="nowhere")


@pytest.mark.nightly
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


# -- another training's checkpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_what_a_training_saves_is_newer_than_what_another_left_there(kind):
    trainer_of(kind, save_strategy="epoch", num_train_epochs=3).train()
    again = trainer_of(kind, save_strategy="epoch", save_total_limit=1, number=16)
    again.train()
    assert steps_in() == [8]
    assert same(weights(again), [np.array(w) for w in load_model("out/checkpoint-8").get_weights()])


def test_going_back_to_an_older_checkpoint_begins_a_branch_that_is_newer():
    trainer_of(save_steps=4).train()
    resumed = trainer_of(save_steps=6, save_total_limit=2)
    resumed.train(resume_from_checkpoint="out/checkpoint-4")
    assert steps_in() == [6, 10]  # In the order of saving; those of steps 4 and 8 were older.
    assert resumed.train(resume_from_checkpoint=True).global_step == 10


def damage(path):
    content = bytearray(pathlib.Path(path).read_bytes())
    content[len(content) // 2] ^= 1
    pathlib.Path(path).write_bytes(content)


def test_what_lies_where_a_training_moves_to_is_not_removed():
    trainer_of(output_dir="first", save_steps=8).train()
    trainer_of(output_dir="second", save_steps=2, max_steps=4).train()
    moved = trainer_of(output_dir="second", save_steps=1, save_total_limit=1)
    moved.train(resume_from_checkpoint="first/checkpoint-8")
    assert steps_in("second") == [2, 4, 10]


# -- the end ---------------------------------------------------------------------------------------------------------

BEST = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "metric_for_best_model": "score",
    "load_best_model_at_end": True,
    "num_train_epochs": 3,
}


def best_of(*scores, kind="keras", **options):
    trainer = trainer_of(kind, **{**BEST, **options})
    trainer.compute_metrics = Scores(*scores)
    return trainer


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_a_training_that_is_done_ends_once_more(kind, monkeypatch):
    monkeypatch.setenv("WANDB_LOG_MODEL", "end")
    first = best_of(0.1, 0.9, 0.2, kind=kind, report_to="wandb", run_name="run")
    first.train()
    finish()
    shutil.rmtree("out/model")  # As if the process had been killed before.
    again = best_of(kind=kind, report_to="wandb", run_name="run")
    assert again.train(resume_from_checkpoint=True).global_step == 15
    directory = finish()
    assert same(weights(again), weights(first))
    assert same(weights(again), [np.array(w) for w in load_model("out/checkpoint-10").get_weights()])
    assert same(weights(again), [np.array(w) for w in load_model("model-run:final").get_weights()])
    assert train_rows(history(directory)) == eval_rows(history(directory)) == []
    fresh = best_of(0.1, 0.2, 0.3, kind=kind, output_dir="fresh", model=again.model)
    assert fresh.train(False).global_step == 15  # Nothing of the resume is left in the model.


def test_more_than_all_steps_are_done_already():
    trainer_of(save_strategy="epoch").train()
    assert trainer_of(save_strategy="epoch", max_steps=7).train(resume_from_checkpoint=True).global_step == 10


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize("loads_best", [True, nightly(False)])
def test_early_stopping_is_not_repeated(kind, loads_best):
    def trainer(*scores):
        stopping = EarlyStopping("val_score", patience=1)
        return best_of(*scores, kind=kind, callbacks=[stopping], load_best_model_at_end=loads_best)

    first, again = trainer(0.5, 0.4, 0.9), trainer(0.9)
    assert first.train().global_step == again.train(resume_from_checkpoint=True).global_step == 10
    assert same(weights(first), weights(again))
    assert again.compute_metrics.values == [0.9]


def test_the_best_checkpoint_could_not_be_written(monkeypatch, caplog):
    fail_to_commit(monkeypatch, 10)
    trainer = best_of(0.1, 0.9, 0.2)
    trainer.train()
    assert steps_in() == [5, 15]
    assert same(weights(trainer), [np.array(w) for w in load_model("out/checkpoint-15").get_weights()])
    facts = Store("out").checkpoints()[-1].read_json("trainer_state.json")
    assert (facts["best_metric"], facts["best_step"]) == (0.2, 15)
    assert facts["callbacks"]["WandbModelCheckpoint"] == {
        "best": 0.2,
        "best_step": 15,
        "monitor": "eval/score",
        "direction": "max",
        "steps_per_epoch": 5,
    }


def fail_to_commit(monkeypatch, step):
    commit = Draft.commit

    def failing(draft):
        if f"checkpoint-{step}-" in draft.path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return commit(draft)

    monkeypatch.setattr(Draft, "commit", failing)


def test_the_best_checkpoint_is_damaged(caplog):
    def damage_the_second(epoch, logs):
        if epoch == 2:
            while 10 not in steps_in():  # It is being written.
                time.sleep(0.01)
            damage("out/checkpoint-10/model.keras")

    damager = tf_keras.callbacks.LambdaCallback(on_epoch_end=damage_the_second)
    trainer = best_of(0.1, 0.9, 0.2, kind="tf_keras", callbacks=[damager])
    trainer.train()
    assert "The best checkpoint (step 10, eval/score=0.9) cannot be loaded" in caplog.text
    assert same(weights(trainer), [np.array(w) for w in load_model("out/checkpoint-15").get_weights()])


@pytest.mark.nightly
@pytest.mark.parametrize(("scores", "step"), [((0.9, 0.2), 5), ((0.2, 0.9), 10)])
def test_the_best_checkpoint_comes_along(scores, step):
    best_of(*scores, output_dir="first", num_train_epochs=2).train()
    moved = best_of(0.1, output_dir="second", save_total_limit=1)
    moved.train(resume_from_checkpoint="first/checkpoint-10")
    assert steps_in("second") == [step, 15]
    assert same(weights(moved), [np.array(w) for w in load_model(f"first/checkpoint-{step}").get_weights()])


def test_the_best_checkpoint_is_gone(caplog):
    best_of(0.9, 0.2, output_dir="first", num_train_epochs=2).train()
    shutil.rmtree("first/checkpoint-5")
    moved = best_of(0.1, output_dir="second")
    moved.train(resume_from_checkpoint="first/checkpoint-10")
    assert "step 5, eval/score=0.9) does not lie beside" in caplog.text
    assert "cannot be loaded, so the model keeps its last weights" in caplog.text
    assert same(weights(moved), [np.array(w) for w in load_model("second/checkpoint-15").get_weights()])


def test_nothing_was_ever_a_number(caplog):
    best_of(*[float("nan")] * 3).train()
    assert "No checkpoint is the best: eval/score was NaN, and never a number" in caplog.text


# -- what does not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
@pytest.mark.parametrize("strategy", ["epoch", "best"])
def test_a_misspelt_metric_is_refused_at_the_first_evaluation(kind, strategy):
    trainer = best_of(0.1, 0.2, kind=kind, metric_for_best_model="sorce", save_strategy=strategy)
    with pytest.raises(SettingError, match=r"metric_for_best_model='sorce'.*'eval_loss'.*'eval_score'"):
        trainer.train()
    assert trainer.compute_metrics.values == [0.2]


def test_the_metric_for_the_best_model_may_be_a_callbacks():
    scores = iter([0.3, 0.2])
    computed = ComputeMetrics(lambda prediction: {"score": next(scores)}, tiny.named(samples(8, seed=1)))
    trainer_of(
        callbacks=[computed], metric_for_best_model="score", eval_strategy="epoch", save_strategy="epoch"
    ).train()
    state = Store("out").checkpoints()[-1].read_json("trainer_state.json")
    assert (state["best_metric"], state["best_step"]) == (0.3, 5)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("now", "message"),
    [
        ({"number": 24}, "train_dataset/num_samples was 20 and is 24"),
        ({"per_device_train_batch_size": 5}, "train_batch_size was 4 and is 5"),
        nightly({"seed": 43}, "seed was 42 and is 43"),
        ({"data_seed": 1}, "data_seed was None and is 1"),
    ],
)
def test_other_data_than_before_is_warned_of(now, message, caplog):
    trainer_of(max_steps=7).train()
    caplog.clear()
    trainer_of(max_steps=9, **now).train(resume_from_checkpoint=True)
    assert message in caplog.text
    caplog.clear()
    trainer_of(max_steps=10, **now).train(resume_from_checkpoint=True)
    assert "with other data" not in caplog.text


@pytest.mark.parametrize("log_model", [nightly("end"), "checkpoint"])
def test_nothing_is_reported_when_nothing_shall_be(log_model, monkeypatch):
    monkeypatch.setenv("WANDB_LOG_MODEL", log_model)
    trainer_of(report_to="none").train()
    assert not pathlib.Path("wandb").exists()
    assert steps_in() == [10]


def test_the_limit_holds_at_the_end_for_what_was_logged_too(monkeypatch):
    monkeypatch.setenv("WANDB_LOG_MODEL", "checkpoint")
    trainer_of("keras", report_to="wandb", save_steps=2, save_total_limit=1).train()
    assert steps_in() == [10]


@pytest.mark.parametrize("word", ["False", "false", False, None, ""])
def test_no_resume_is_asked_for(word):
    assert trainer_of(max_steps=2).train(resume_from_checkpoint=word).global_step == 2


def test_a_directory_at_home():
    saved = trainer_of("keras").save_model("~/model")
    assert saved == pathlib.Path.home() / "model"
    assert (saved / "model.keras").exists()
    assert not pathlib.Path("~").exists()


@pytest.mark.usefixtures("real_signals")
def test_a_signal_before_the_first_step_is_answered(monkeypatch):
    trainer = trainer_of()
    schedule = trainer.create_scheduler

    def interrupted(steps, optimizer=None):
        os.kill(os.getpid(), signal.SIGINT)
        return schedule(steps, optimizer)

    monkeypatch.setattr(trainer, "create_scheduler", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as exit_:
        trainer.train()
    assert exit_.value.code == 130
    assert steps_in() == []
    assert signal.getsignal(signal.SIGINT) is before
