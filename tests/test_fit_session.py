"""What callbacks of one fit share is that fit's, whatever else is called in between."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras
from helpers import classifier, eval_rows, finish, history, nightly, samples, train_rows

from tf_hfwb import EarlyStopping, WandbEvalCallback, WandbMetricsLogger, WandbModelCheckpoint, WandbWatch, restore
from tf_hfwb.checkpoint.pending_writes import wait_for_writers
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.keras_compat import Callback
from tf_hfwb.resume.trainer_state import TrainerState


def steps_of(rows):
    return [row["train/global_step"] for row in rows]


class Calling(Callback):
    """Calls a function at one hook."""

    def __init__(self, hook, function):
        super().__init__()
        setattr(self, hook, lambda *args, **kwargs: function(self.model))


def saved(directory="out"):
    return {one.step: TrainerState.read(one) for one in Store(directory).checkpoints()}


def test_an_evaluation_after_an_interrupt_is_written_at_once(monkeypatch):
    def interrupt(model):
        raise KeyboardInterrupt

    model, logger = classifier("tf_keras"), WandbMetricsLogger(1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*samples(40), 4, verbose=0, callbacks=[logger, Calling("on_epoch_end", interrupt)])
    model.evaluate(*samples(8), verbose=0, callbacks=[logger])
    model.fit(*samples(8), 4, verbose=0, callbacks=[WandbMetricsLogger(1)])
    rows = history(finish())
    assert steps_of(eval_rows(rows)) == [10]
    assert steps_of(train_rows(rows)) == [*range(1, 13)]


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin"])
def test_an_evaluation_within_the_fit_with_the_same_callbacks_leaves_the_fit_alone(kind, hook):
    model, logger, checkpoints = classifier(kind), WandbMetricsLogger(2), WandbModelCheckpoint("out")
    evaluate = Calling(hook, lambda model: model.evaluate(*samples(8), verbose=0, callbacks=[logger]))
    model.fit(*samples(40), 4, epochs=2, verbose=0, callbacks=[evaluate, logger, checkpoints])
    states = saved()
    rows = history(finish())
    assert steps_of(train_rows(rows)) == [*range(2, 21, 2)]
    assert [row["train/epoch"] for row in train_rows(rows)] == pytest.approx([step / 10 for step in range(2, 21, 2)])
    assert {step: len(state.callbacks["WandbMetricsLogger"]["log_history"]) for step, state in states.items()}[20] >= 10


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_data_of_unknown_length_that_is_stopped_at_the_end_of_an_epoch_goes_on_with_the_next(kind):
    def batches():
        for start in range(0, 20, 4):
            yield samples(20)[0][start : start + 4], samples(20)[1][start : start + 4]

    model = classifier(kind)
    stopping = EarlyStopping("loss", patience=1, min_delta=10.0)
    callbacks = [WandbMetricsLogger(1), stopping, WandbModelCheckpoint("out")]
    import tensorflow as tf

    spec = tf.TensorSpec([None, 4], "float32"), tf.TensorSpec([None], "int64")
    data = tf.data.Dataset.from_generator(batches, output_signature=spec)
    model.fit(data, epochs=5, verbose=0, callbacks=callbacks)
    finish()
    assert {step: (state.position.epoch, state.position.batch) for step, state in saved().items()} == {
        5: (1, 0),
        10: (2, 0),
    }


def test_the_best_of_another_model_does_not_count():
    checkpoints = WandbModelCheckpoint("out", monitor="loss", save_best_only=True)
    easy, hard = classifier("tf_keras", learning_rate=0.5), classifier("tf_keras")
    easy.fit(*samples(40), 4, epochs=3, verbose=0, callbacks=[checkpoints])
    x, y = samples(44)
    hard.fit(x, y, 4, verbose=0, callbacks=[checkpoints])
    assert checkpoints.best_checkpoint.name == "checkpoint-11"


def test_the_directory_is_free_after_a_last_save_that_raises(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("the disk is full")

    model = classifier("tf_keras")
    checkpoints = WandbModelCheckpoint("out", save_freq=100, stop_on_error=True)
    monkeypatch.setattr("tf_hfwb.resume.training_state.TrainingState.write", fail)
    with pytest.raises(Exception, match="disk is full"):
        model.fit(*samples(8), 4, verbose=0, callbacks=[checkpoints])
    monkeypatch.undo()
    assert checkpoints._saver._lock is None


def test_what_cannot_be_written_after_an_exception_is_told(monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise OSError("the disk is full")

    model = classifier("tf_keras")
    monkeypatch.setattr("tf_hfwb.resume.training_state.TrainingState.write", fail)
    stop = Calling("on_epoch_begin", lambda model: 1 / 0 if model.optimizer.iterations.numpy() else None)
    with pytest.raises(ZeroDivisionError):
        model.fit(*samples(8), 4, epochs=2, verbose=0, callbacks=[WandbModelCheckpoint("out"), stop])
    wait_for_writers()
    monkeypatch.undo()
    model.fit(*samples(8), 4, verbose=0, callbacks=[WandbMetricsLogger()])
    assert caplog.text.count("the disk is full") == 1


def test_updates_after_an_exception_and_compile_count():
    model = classifier("tf_keras")
    stop = Calling("on_epoch_end", lambda model: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.fit(*samples(40), 4, verbose=0, callbacks=[WandbMetricsLogger(1), stop])
    model.compile(tf_keras.optimizers.SGD(0.0), tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*samples(12), 4, verbose=0)
    model.fit(*samples(4), 4, verbose=0, callbacks=[WandbMetricsLogger(1)])
    assert steps_of(train_rows(history(finish()))) == [*range(1, 11), 14]


def test_metrics_whose_names_begin_alike_keep_their_counts():
    model = classifier("tf_keras")
    names = ["val_loss", "val_loss_b"]
    for epochs in (1, 3):
        stops = [EarlyStopping(name, patience=9) for name in names]
        added = Calling("on_epoch_begin", lambda model: None)
        added.on_epoch_end = lambda epoch, logs=None: logs.update(val_loss_b=float(epoch))
        if epochs == 3:
            restore(model, True, output_dir="out")
        model.fit(
            *samples(8),
            4,
            epochs=epochs,
            shuffle=False,
            validation_data=samples(8),
            verbose=0,
            callbacks=[added, *stops, WandbModelCheckpoint("out")],
        )
    states = saved()[6].callbacks
    assert {"EarlyStopping-eval/loss-0", "EarlyStopping-eval/loss_b-0"} <= set(states)
    assert np.isfinite(stops[1].best)


def test_watching_and_tables_join_the_fit_in_which_they_were_used_for_an_evaluation():
    class Table(WandbEvalCallback):
        def add_ground_truth(self, logs=None):
            self.data_table.add_data(0)

        def add_model_predictions(self, epoch, logs=None):
            self.pred_table.add_data(epoch)

    model, logger = classifier("tf_keras"), WandbMetricsLogger(2, run_name="mine")
    guests = [WandbWatch("parameters", log_freq=2), Table(["index"], ["epoch"])]
    evaluate = Calling("on_train_begin", lambda model: model.evaluate(*samples(8), verbose=0, callbacks=guests))
    model.fit(*samples(16), 4, verbose=0, callbacks=[evaluate, *guests, logger])
    assert logger.tracker.identity["name"] == "mine"
    assert {id(guest._tracker) for guest in guests} == {id(logger.tracker)}
    finish()
