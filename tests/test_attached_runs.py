"""Runs that the user opens or ends, and the fit's own run in whichever order its callbacks stand."""

from __future__ import annotations

import importlib
import os
import threading

import numpy as np
import pytest
import wandb
from helpers import classifier, eval_rows, finish, history, nightly, on_both, records, samples, train_rows

from tf_hfwb import (
    EarlyStopping,
    WandbEvalCallback,
    WandbEvalTable,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    WandbWatch,
)

pytestmark = pytest.mark.core

DATA = samples(16)


class Predictions(WandbEvalCallback):
    def __init__(self):
        super().__init__(["label"], ["label"])

    def add_ground_truth(self, logs=None):
        self.data_table.add_data(1)

    def add_model_predictions(self, epoch, logs=None):
        self.pred_table.add_data(1)


FIRST = {
    "table": lambda: WandbEvalTable(DATA, num_samples=1),
    "watch": WandbWatch,
    "callback": Predictions,
    "all": lambda: [Predictions(), WandbWatch(), WandbEvalTable(DATA, num_samples=1)],
}


@pytest.mark.parametrize(("kind", "first"), on_both(FIRST, "table"))
def test_the_run_is_the_loggers_whatever_stands_in_front_of_it(kind, first):
    made = FIRST[first]()
    logger = WandbMetricsLogger(run_name="mine", project="ours", config={"answer": 42})
    callbacks = [*(made if isinstance(made, list) else [made]), logger]
    classifier(kind).fit(*DATA, callbacks=callbacks, verbose=0)
    assert (wandb.run.name, wandb.run.project, wandb.run.config["answer"]) == ("mine", "ours", 42)
    assert logger.tracker.run is wandb.run
    assert len(train_rows(history(finish()))) == 1


def test_a_logger_of_an_earlier_fit_has_no_say():
    model = classifier("keras")
    logger = WandbMetricsLogger(run_name="mine", project="ours")
    model.fit(*DATA, callbacks=[logger], verbose=0)
    finish()
    model.fit(*DATA, callbacks=[WandbEvalTable(DATA, num_samples=1)], verbose=0)
    assert (wandb.run.name, wandb.run.project) != ("mine", "ours")
    assert wandb.run.project == "huggingface"


def summary_of(directory) -> dict:
    updates = [record["summary"]["update"] for record in records(directory) if record["type"] == "summary"]
    return {name: value for update in updates for name, value in update.items()}


@pytest.mark.parametrize("after", ["a tracked run", nightly("nothing")])
def test_stopping_is_in_the_summary_of_a_run_that_the_user_opened(after, caplog):
    if after != "nothing":
        classifier("keras").fit(*DATA, callbacks=[WandbMetricsLogger()], verbose=0)
        finish()
    wandb.init(project="users")
    stopping = EarlyStopping("val_loss", patience=1, min_delta=10.0)
    classifier("keras").fit(*DATA, epochs=4, validation_data=DATA, callbacks=[stopping], verbose=0)
    found = summary_of(finish())
    assert found["early_stopping/best_step"] == stopping.best_step == 1
    assert found["early_stopping/stopped_step"] == stopping.stopped_step == 2
    assert "is finished" not in caplog.text


def test_without_an_open_run_stopping_opens_none_and_writes_to_no_finished_one(caplog):
    classifier("keras").fit(*DATA, callbacks=[WandbMetricsLogger()], verbose=0)
    finish()
    model = classifier("keras")
    checkpoints = WandbModelCheckpoint("out")
    model.fit(*DATA, validation_data=DATA, callbacks=[EarlyStopping("val_loss"), checkpoints], verbose=0)
    assert wandb.run is None
    assert "is finished" not in caplog.text
    assert checkpoints._saver.previous.read_json("trainer_state.json")["run"] == {}


def fail_in_the_second_epoch(kind):
    class Failing(importlib.import_module(kind).callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise ArithmeticError

    table = WandbEvalTable(DATA, num_samples=1)
    watch = WandbWatch("all", log_freq=1)
    classifier(kind).fit(
        *DATA, epochs=4, validation_data=DATA, callbacks=[WandbMetricsLogger(), watch, table, Failing()], verbose=0
    )


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize("ended", ["by with", nightly("by hand")])
def test_after_an_exception_what_was_handed_over_is_in_the_run(kind, ended, caplog):
    others = threading.enumerate()
    if ended == "by hand":
        with pytest.raises(ArithmeticError):
            fail_in_the_second_epoch(kind)
        directory = finish()
    else:
        run = wandb.init(project="users")
        directory = os.path.dirname(run.dir)
        with pytest.raises(ArithmeticError), run:
            fail_in_the_second_epoch(kind)
    threads = [thread for thread in threading.enumerate() if thread not in others]
    assert [thread.name for thread in threads if thread.name.startswith("tf_hfwb")] == []
    rows = history(directory)
    step = "train/global_step"
    assert [row[step] for row in train_rows(rows)] == [1, 2]
    assert [row[step] for row in eval_rows(rows)] == [1, 2]
    assert [row[step] for row in rows if "sample_predictions" in row] == [1, 2]
    assert [row[step] for row in rows if "train/grad_norm" in row] == [1, 2]
    assert "is finished" not in caplog.text
    assert np.isfinite(train_rows(rows)[0]["train/loss"])
