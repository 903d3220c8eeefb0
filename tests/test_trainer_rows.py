"""``state.log_history`` and the rows that ``on_log`` gets: the same as in the run, with and without one."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import tiny
import transformers
from helpers import finish, history, nightly, python, records, samples, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.resume.trainer_state import TrainerState
from tf_hfwb.trainer.trainer_events.flow_callbacks import FlowEnd, FlowLog


def named(number: int = 11):
    return tiny.named(samples(number))


def trainer_of(model, data, *, callbacks=(), **options):
    defaults = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "num_train_epochs": 2}
    defaults |= {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "logging_steps": 2}
    return TFTrainer(
        model,
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=data,
        eval_dataset=data,
        processing_class=tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None,
        callbacks=callbacks,
    )


class Rows(transformers.TrainerCallback):
    """Notes what is logged."""

    def __init__(self):
        self.heard = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.heard.append({**logs, "step": state.global_step})


def without_rates(rows):
    return [
        {name: value for name, value in row.items() if not name.endswith(("_per_second", "runtime"))} for row in rows
    ]


def as_logged(row):
    """A row of the history under the names of a run's rows."""
    names = {"step": "train/global_step"}
    return {
        names.get(name) or (f"eval/{name[5:]}" if name.startswith("eval_") else f"train/{name}"): value
        for name, value in row.items()
    }


STRATEGIES = {
    "steps": {"logging_steps": 2},
    "every step": {"logging_steps": 1},
    "first": {"logging_steps": 4, "logging_first_step": True},
    "epoch": {"logging_strategy": "epoch"},
    "a share": {"logging_steps": 0.5},
}


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "heard"),
    [*((name, False) for name in STRATEGIES), ("steps", True), *(nightly(name, True) for name in [*STRATEGIES][1:])],
)
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_the_history_has_the_rows_of_the_run(kind, name, heard):
    rows = Rows()
    settings = {**STRATEGIES[name], "eval_strategy": "epoch"}

    def trained(report_to):
        trainer = trainer_of(
            tiny.functional(kind), named(), callbacks=[rows] if heard else [], report_to=report_to, **settings
        )
        trainer.train()
        return trainer.state.log_history

    silent, logged = trained("none"), trained("wandb")
    assert without_rates(silent) == without_rates(logged)
    in_run = [row for row in history(finish()) if len(row) > 2]
    found = without_rates(map(as_logged, logged[:-1]))
    in_run = without_rates(in_run)

    def in_order(rows):
        return sorted(rows, key=lambda row: (row["train/global_step"], "eval/loss" in row))

    assert in_order(found) == in_order(in_run)
    if heard:
        assert rows.heard[len(silent) :] == logged


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_what_a_row_says(kind):
    model = tiny.functional(kind)
    trainer = trainer_of(model, named(16), num_train_epochs=1, logging_steps=2, learning_rate=0.0, warmup_steps=2)
    output = trainer.train()
    first, second, last = trainer.state.log_history
    assert list(first) == ["loss", "learning_rate", "accuracy", "epoch", "step"]
    assert (first["epoch"], first["step"], second["epoch"], second["step"]) == (0.5, 2, 1.0, 4)
    loss = model.evaluate(*named(16), verbose=0)[0]
    assert (first["loss"] + second["loss"]) / 2 == pytest.approx(loss, rel=1e-5)
    assert last["train_loss"] == pytest.approx(loss, rel=1e-5)
    assert last == {**output.metrics, "step": 4}


@pytest.mark.parametrize("name", ["bert", nightly("gpt2"), nightly("t5")])
def test_rows_of_models_of_transformers(name):
    make, data = {
        "bert": (tiny.bert, tiny.classified),
        "gpt2": (tiny.gpt2, tiny.next_words),
        "t5": (tiny.t5, tiny.answered),
    }[name]
    rows = Rows()
    trainer = trainer_of(make(), data(), callbacks=[rows], logging_steps=1, learning_rate=1e-3)
    trainer.train()
    assert rows.heard == trainer.state.log_history
    assert [row["learning_rate"] for row in rows.heard[:-1]] == pytest.approx([1e-3 * (6 - n) / 6 for n in range(6)])
    assert all(math.isfinite(row["loss"]) for row in rows.heard[:-1])


@pytest.mark.parametrize("heard", [nightly(False), True])
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_resumed_training_has_the_history_of_an_uninterrupted_one(kind, heard):
    options = {"save_strategy": "steps", "save_steps": 3, "full_determinism": True, "eval_strategy": "epoch"}
    options |= {"logging_steps": 2, "metric_for_best_model": "accuracy"}

    def trainer():
        return trainer_of(tiny.functional(kind), named(), callbacks=[Rows()] if heard else [], **options)

    whole = trainer()
    whole.train()
    resumed = trainer()
    resumed.train("trainer_output/checkpoint-3")
    assert without_rates(resumed.state.log_history)[:-1] == without_rates(whole.state.log_history)[:-1]
    assert resumed.state.best_metric == whole.state.best_metric
    assert resumed.state.best_global_step == whole.state.best_global_step


def test_a_second_training_has_a_history_of_its_own():
    trainer = trainer_of(tiny.functional("keras"), named())
    trainer.train()
    assert [row["step"] for row in trainer.state.log_history] == [2, 4, 6, 6]
    trainer.train()
    assert [row["step"] for row in trainer.state.log_history] == [8, 10, 12, 12]
    assert trainer.state.max_steps == 12


def test_a_training_that_fails_keeps_its_rows():
    class Failing(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                raise ArithmeticError

    trainer = trainer_of(tiny.functional("keras"), named(), callbacks=[Failing])
    with pytest.raises(ArithmeticError):
        trainer.train()
    assert [row["step"] for row in trainer.state.log_history] == [2, 4]
    trainer.pop_callback(Failing)
    trainer.train()
    assert trainer.state.global_step == 11


# -- what transformers prints ------------------------------------------------------------------------------------------


def test_the_printer_prints_the_rows(capsys):
    trainer = trainer_of(tiny.functional("keras"), named(), callbacks=[transformers.PrinterCallback])
    trainer.train()
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    expected = [{name: value for name, value in row.items() if name != "step"} for row in trainer.state.log_history]
    assert printed == [str(row) for row in expected]


def test_the_progress_bar_reaches_the_end(capsys):
    trainer = trainer_of(
        tiny.functional("keras"), named(), callbacks=[transformers.ProgressCallback], eval_strategy="epoch"
    )
    trainer.train()
    printed = capsys.readouterr().err
    assert re.search(r"100%\|.*\| 6/6 ", printed)
    assert re.search(r"100%\|.*\| 3/3 ", printed)


# -- what it costs -----------------------------------------------------------------------------------------------------


def callbacks_of(trainer):
    plan = trainer._prepare(None)
    trainer._events.begin_training(plan)
    return trainer._create_callbacks([], plan)


@pytest.mark.parametrize("heard", ["on_log", "on_evaluate", "on_save", "on_epoch_end", "on_train_end"])
def test_a_callback_without_events_of_steps_costs_nothing_per_step(heard):
    listener = type("Listener", (transformers.TrainerCallback,), {heard: lambda self, *values, **more: None})
    trainer = trainer_of(tiny.functional("tf_keras"), named(40), callbacks=[listener], num_train_epochs=10)
    found = callbacks_of(trainer)
    begin, end = (next(one for one in found if isinstance(one, kind)) for kind in (FlowLog, FlowEnd))
    assert not any(
        one._implements_train_batch_hooks() for one in found if hasattr(one, "_implements_train_batch_hooks")
    )
    trainer.args.logging_steps = 50
    begin = next(one for one in callbacks_of(trainer) if isinstance(one, FlowLog))
    assert begin.policy.next_due(1) > 2
    assert end is not begin


def test_rows_of_every_step_need_no_look():
    """As the logger's: the schedule is not asked at each step."""
    from tf_hfwb.fit.step_schedule import StepSchedule

    looks = []
    look = StepSchedule._look
    try:
        StepSchedule._look = lambda self, *values: (looks.append(1), look(self, *values))[1]
        trainer = trainer_of(tiny.functional("keras"), named(400), num_train_epochs=1, logging_steps=1)
        trainer.args.report_to = ["wandb"]
        trainer.train()
    finally:
        StepSchedule._look = look
    finish()
    assert len(trainer.state.log_history) == 101
    assert len(looks) < 20


# -- W&B's page -------------------------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_the_recipe_for_predictions_in_a_table():
    """``WandbPredictionProgressCallback`` of W&B's page, as it stands there."""
    from transformers.integrations import WandbCallback

    class WandbPredictionProgressCallback(WandbCallback):
        def __init__(self, trainer, tokenizer, val_dataset, num_samples=100, freq=2):
            super().__init__()
            self.trainer = trainer
            self.tokenizer = tokenizer
            self.sample_dataset = val_dataset.select(range(num_samples))
            self.freq = freq

        def on_evaluate(self, args, state, control, **kwargs):
            super().on_evaluate(args, state, control, **kwargs)
            if state.epoch % self.freq == 0:
                predictions = self.trainer.predict(self.sample_dataset)
                labels = predictions.predictions.argmax(axis=-1)
                texts = self.tokenizer.batch_decode(self.sample_dataset["input_ids"])
                table = self._wandb.Table(
                    columns=["text", "label"], data=list(zip(texts, labels.tolist(), strict=True))
                )
                self._wandb.log({"sample_predictions": table})

    data = tiny.classified()
    trainer = trainer_of(
        tiny.bert(), data, report_to="wandb", num_train_epochs=4, eval_strategy="epoch", logging_steps=3
    )
    trainer.add_callback(
        WandbPredictionProgressCallback(trainer, tokenizer=tiny.tokenizer(), val_dataset=data, num_samples=5, freq=2)
    )
    trainer.train()
    directory = finish()
    rows = history(directory)
    assert [row["train/global_step"] for row in train_rows(rows)] == [3, 6, 9, 12]
    assert [row["train/global_step"] for row in rows if "eval/loss" in row] == [3, 6, 9, 12]
    tables = [row for row in rows if "sample_predictions" in row]
    assert [row["sample_predictions"]["nrows"] for row in tables] == [5, 5]
    # Each stands behind the rows of its step.
    places = [rows.index(row) for row in tables]
    assert [max(row.get("train/global_step", 0) for row in rows[:place]) for place in places] == [6, 12]
    assert len([record for record in records(directory) if record["type"] == "run"]) == 1


def test_tensorboard_with_a_writer(monkeypatch):
    from transformers.integrations import TensorBoardCallback, integration_utils

    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: True)

    class Writer:
        def __init__(self):
            self.scalars, self.texts, self.is_closed = [], [], False

        def add_text(self, name, text, *step):
            self.texts.append(name)

        def add_scalar(self, name, value, step):
            self.scalars.append((name, step))

        def flush(self):
            """Nothing is kept back."""

        def close(self):
            self.is_closed = True

    writer = Writer()
    trainer = trainer_of(tiny.bert(), tiny.classified(), callbacks=[TensorBoardCallback(writer)], eval_strategy="epoch")
    trainer.train()
    assert writer.is_closed
    assert writer.texts == ["args", "model_config"]
    assert [step for name, step in writer.scalars if name == "train/loss"] == [2, 4, 6]
    assert [step for name, step in writer.scalars if name == "eval/loss"] == [3, 6]


# -- JAX --------------------------------------------------------------------------------------------------------------

JAX = """
import json
import keras, numpy as np
import tiny
from helpers import samples
from trainer_events import Recorder, Reference
from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.resume.trainer_state import TrainerState

assert keras.backend.backend() == "jax"
data = tiny.named(samples(11))


class Predicting(Recorder):
    def on_step_end(self, args, state, control, **more):
        sums.append(float(np.sum(trainer.predict(data).predictions)))
        return super().on_step_end(args, state, control, **more)


for settings in (
    {"eval_strategy": "steps", "save_strategy": "steps"},
    {"eval_strategy": "no", "save_strategy": "no"},
    dict.fromkeys(("eval_strategy", "save_strategy"), "epoch"),
):
    sums = []
    args = TFTrainingArguments(
        report_to="none", disable_tqdm=True, num_train_epochs=2, logging_steps=2, eval_steps=2, save_steps=2,
        per_device_train_batch_size=4, per_device_eval_batch_size=4, learning_rate=0.1, **settings
    )
    expected, found = Recorder(), Predicting()
    Reference(args, expected, batches=3, eval_batches=3).train()
    trainer = TFTrainer(tiny.functional("keras"), args, train_dataset=data, eval_dataset=data, callbacks=[found])
    trainer.train()

    def plain(heard):  # But for the predictions of its own.
        return [event for event in heard if event[0] not in ("on_prediction_step", "on_predict")]

    assert plain(found.heard) == plain(expected.heard), (found.heard, expected.heard)
    assert len(set(sums)) == 6, sums  # The weights of each step.
print("done")
"""


@pytest.mark.nightly
def test_events_on_jax():
    pytest.importorskip("jax")
    assert python("-c", JAX, KERAS_BACKEND="jax").stdout.splitlines()[-1] == "done"


def test_numbers_only_are_kept():
    """The history is written as JSON, by ``save_state`` and in checkpoints."""
    options = {"save_strategy": "epoch", "eval_strategy": "epoch"}
    data = named()

    def trainer():
        return TFTrainer(
            tiny.functional("keras"),
            TFTrainingArguments(report_to="none", disable_tqdm=True, num_train_epochs=2, logging_steps=1, **options),
            train_dataset=data,
            eval_dataset=data,
            compute_metrics=lambda prediction: {"matrix": np.eye(2), "is": True, "nan": math.nan},
        )

    first = trainer()
    first.train()
    evaluated = [row for row in first.state.log_history if "eval_loss" in row]
    assert "eval_matrix" not in evaluated[0]
    resumed = trainer()
    resumed.train("trainer_output/checkpoint-2")
    kept = next(row for row in resumed.state.log_history if "eval_loss" in row)
    assert math.isnan(kept["eval_nan"])
    assert "eval_matrix" not in kept


@pytest.mark.parametrize("report_to", [nightly("none"), "wandb"])
def test_the_history_in_checkpoints_is_kept_once_and_resumes(monkeypatch, report_to):
    monkeypatch.setattr("tf_hfwb.tracking.row_log.BLOCK", 5)

    def train(output_dir, steps, resume=None):
        options = {"logging_steps": 1, "save_strategy": "steps", "save_steps": 7, "report_to": report_to}
        options |= {"lr_scheduler_type": "constant", "eval_strategy": "steps", "eval_steps": 7}
        trainer = trainer_of(tiny.functional("keras"), named(), output_dir=output_dir, max_steps=steps, **options)
        trainer.train(resume_from_checkpoint=resume)
        return trainer.state.log_history[:-1]  # Without the sums of the training.

    whole = train("whole", 21)
    train("parts", 14)
    if report_to == "wandb":
        finish()
    assert without_rates(train("parts", 21, resume=True)) == without_rates(whole)
    before, last = Store("parts").checkpoints()[1:]
    state = TrainerState.read(last).callbacks["TrainingLog"]
    files = [f"state_history/{5 * number:09d}-{5 * number + 4:09d}.jsonl" for number in range(len(whole) // 5)]
    assert (list(state["history_files"]), len(state["history"])) == (files, len(whole) % 5)
    assert (last.path / files[0]).samefile(before.path / files[0])
