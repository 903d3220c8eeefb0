"""What callbacks of transformers want is done: rows, evaluations, checkpoints, an early end."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pathlib
import sys

import numpy as np
import pytest
import tiny
import transformers
from helpers import KERASES, needs, nightly, on_both, samples
from trainer_events import Recorder, Reference, asking

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import SettingError

pytestmark = pytest.mark.keras3


def named(number: int = 11):
    return tiny.named(samples(number))


def trainer_of(model, data, *, callbacks=(), trainer=TFTrainer, compute_metrics=None, **options):
    defaults = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "num_train_epochs": 2}
    defaults |= {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "logging_strategy": "no"}
    return trainer(
        model,
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=data,
        eval_dataset=named(),
        callbacks=callbacks,
        compute_metrics=compute_metrics,
    )


def saved(directory="trainer_output"):
    return sorted(checkpoint.step for checkpoint in Store(directory).checkpoints())


CASES = {
    "a row": {"flag": "should_log", "at": [1, 5]},
    "an evaluation": {"flag": "should_evaluate", "at": [2, 3]},
    "a checkpoint": {"flag": "should_save", "at": [2, 3]},
    "the end of the training": {"flag": "should_training_stop", "at": [2]},
    "the end of the training with an epoch": {"flag": "should_training_stop", "at": [3]},
    "the end of the training after an epoch": {"flag": "should_training_stop", "at": [3], "event": "on_epoch_end"},
    "a row after an epoch": {"flag": "should_log", "at": [3], "event": "on_epoch_end"},
    "an evaluation after an epoch": {"flag": "should_evaluate", "at": [3], "event": "on_epoch_end"},
    "a checkpoint after an epoch": {"flag": "should_save", "at": [3], "event": "on_epoch_end"},
    "the end of an epoch": {"flag": "should_epoch_stop", "at": [1]},
    "the end of the training as it begins": {"flag": "should_training_stop", "at": [0], "event": "on_train_begin"},
    "the end of the training as an epoch begins": {
        "flag": "should_training_stop",
        "at": [3],
        "event": "on_epoch_begin",
    },
    "the end of the training as a step begins": {"flag": "should_training_stop", "at": [1], "event": "on_step_begin"},
    "the end of an epoch as it begins": {"flag": "should_epoch_stop", "at": [0, 1], "event": "on_epoch_begin"},
    "the end of an epoch as a step begins": {"flag": "should_epoch_stop", "at": [1], "event": "on_step_begin"},
    "a row of the first step": {"flag": "should_log", "at": [0], "event": "on_step_begin"},
}


SELDOM = [
    "the end of the training with an epoch",
    "an evaluation after an epoch",
    "a checkpoint after an epoch",
    "the end of the training as an epoch begins",
    "the end of the training as a step begins",
    "the end of an epoch as a step begins",
]
OFTEN = [name for name in CASES if name not in SELDOM]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *on_both(OFTEN, "a checkpoint", "the end of an epoch"),
        *(nightly(kind, name) for kind in KERASES for name in SELDOM),
    ],
)
def test_what_a_callback_wants_happens_as_in_the_trainer(name, kind):
    expected, found = Recorder(asking(**CASES[name])), Recorder(asking(**CASES[name]))
    trainer = trainer_of(tiny.functional(kind), named(), callbacks=[found])
    Reference(trainer.args, expected, batches=3, eval_batches=3).train()
    trainer.train()
    assert found.heard == expected.heard
    assert saved() == [event[1] for event in found.heard if event[0] == "on_save"]
    assert pathlib.Path("trainer_output").exists() == bool(saved())


@pytest.mark.parametrize("event", ["on_log", "on_evaluate", "on_save"])
def test_a_training_ends_after_any_event(event):
    settings = {"logging_strategy": "steps", "logging_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    act = asking("should_training_stop", at=[2], event=event)
    expected, found = Recorder(act), Recorder(act)
    trainer = trainer_of(
        tiny.functional("keras"), named(), callbacks=[found], save_strategy="steps", save_steps=2, **settings
    )
    Reference(trainer.args, expected, batches=3, eval_batches=3).train()
    trainer.train()
    assert found.heard == expected.heard
    assert trainer.model.optimizer.iterations == 2


@pytest.mark.parametrize("flag", ["should_log", "should_evaluate", "should_save"])
def test_a_callback_may_prevent_what_the_arguments_ask_for(flag):
    settings = {"logging_strategy": "steps", "logging_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    act = asking(flag, at=[2], value=False)
    expected, found = Recorder(act), Recorder(act)
    trainer = trainer_of(
        tiny.functional("keras"), named(), callbacks=[found], save_strategy="steps", save_steps=2, **settings
    )
    Reference(trainer.args, expected, batches=3, eval_batches=3).train()
    trainer.train()
    assert found.heard == expected.heard


def test_a_control_of_ones_own_counts():
    """The recipe of the forums: evaluate on the training data too, at the end of each epoch."""

    class OnTrainingData(transformers.TrainerCallback):
        def __init__(self, trainer):
            self.trainer = trainer

        def on_epoch_end(self, args, state, control, **kwargs):
            if control.should_evaluate:
                kept = copy.deepcopy(control)
                self.trainer.evaluate(self.trainer.train_dataset, metric_key_prefix="train")
                return kept
            return None

    trainer = trainer_of(tiny.functional("keras"), named(), eval_strategy="epoch")
    trainer.add_callback(OnTrainingData(trainer))
    trainer.train()
    rows = trainer.state.log_history
    names = [
        name for row in rows for name in ("train_accuracy", "eval_loss", "train_samples_per_second") if name in row
    ]
    assert names[:4] == ["train_accuracy", "train_samples_per_second", "eval_loss", "train_accuracy"]
    assert len(rows) == 5
    assert trainer.model.history.history["val_loss"] == [row["eval_loss"] for row in rows[1:4:2]]


# -- the end of an epoch ----------------------------------------------------------------------------------------------


def seen_by(model):
    """The batches that a model was trained on, by the sums of their features."""
    seen = []
    step = model.train_step

    def watched(data):
        import tensorflow as tf

        tf.py_function(lambda x: seen.append(round(float(x), 4)), [tf.reduce_sum(data[0]["x"])], [])
        return step(data)

    model.train_step = watched
    return seen


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_the_next_epoch_begins_with_its_own_data(kind):
    def batches_of(callbacks):
        model = tiny.functional(kind, run_eagerly=True)
        seen = seen_by(model)
        trainer = trainer_of(model, named(20), callbacks=callbacks, num_train_epochs=3)
        trainer.train()
        return seen, trainer.state

    whole, _ = batches_of([])
    assert len(whole) == 15
    short, state = batches_of([Recorder(asking("should_epoch_stop", at=[2]))])
    assert short == [*whole[:2], *whole[5:]]
    assert (state.global_step, state.epoch) == (12, 3.0)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_an_epoch_of_unknown_length_ends_too(kind):
    import tensorflow as tf

    x, y = named(20)
    data = tf.data.Dataset.from_generator(
        lambda: (({"x": x["x"][n : n + 4]}, y[n : n + 4]) for n in range(0, 20, 4)),
        output_signature=({"x": tf.TensorSpec((None, 4))}, tf.TensorSpec((None,), tf.int64)),
    )
    found = Recorder(asking("should_epoch_stop", at=[2]))
    trainer = trainer_of(tiny.functional(kind), data, callbacks=[found], max_steps=8)
    trainer.train()
    epochs = [(event[0], event[1]) for event in found.heard if "epoch" in event[0]]
    assert epochs[:3] == [("on_epoch_begin", 0), ("on_epoch_end", 2), ("on_epoch_begin", 2)]
    assert trainer.state.global_step == 8


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_training_resumes_behind_an_epoch_that_was_cut_short(kind):
    options = {"save_strategy": "epoch", "full_determinism": True, "num_train_epochs": 3}

    def trained(directory, **more):
        callback = Recorder(asking("should_epoch_stop", at=[2]))
        return trainer_of(
            tiny.functional(kind), named(20), callbacks=[callback], output_dir=directory, **options | more
        )

    whole = trained("whole")
    whole.train()
    assert saved("whole") == [2, 7, 12]
    first = trained("whole")
    first.train("whole/checkpoint-2")
    assert first.state.global_step == 12
    for left, right in zip(first.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


# -- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_on_disk_when_it_is_told():
    class Reader(transformers.TrainerCallback):
        def __init__(self):
            self.found = []

        def on_save(self, args, state, control, **kwargs):
            path = pathlib.Path(args.output_dir, f"checkpoint-{state.global_step}")
            self.found.append((state.global_step, (path / "manifest.json").exists()))

    reader = Reader()
    trainer_of(tiny.functional("keras"), named(), callbacks=[reader], save_strategy="steps", save_steps=2).train()
    assert reader.found == [(2, True), (4, True), (6, True)]


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_only_the_best_is_saved(kind):
    scores = iter([0.1, 0.3, 0.2, 0.4, 0.4, 0.5])
    found = Recorder()
    trainer = trainer_of(
        tiny.functional(kind),
        named(),
        callbacks=[found],
        compute_metrics=lambda prediction: {"score": next(scores)},
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="best",
        metric_for_best_model="score",
        load_best_model_at_end=True,
    )
    trainer.train()
    assert [event[1] for event in found.heard if event[0] == "on_save"] == [1, 2, 4, 6] == saved()
    assert (trainer.state.best_metric, trainer.state.best_global_step) == (0.5, 6)
    assert trainer.state.best_model_checkpoint == "trainer_output/checkpoint-6"


@pytest.mark.parametrize("callbacks", [(Recorder,), nightly(())])
def test_the_best_by_a_metric_that_evaluate_of_a_subclass_adds(callbacks):
    scores = [0.1, 0.3, 0.2, 0.4, 0.4, 0.5]

    class Own(TFTrainer):
        def evaluate(self, *args, **kwargs):
            score = scores[self.state.global_step - 1]
            return super().evaluate(*args, **kwargs) | {"eval_score": wrap(score)}

    options = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "best", "metric_for_best_model": "score"}
    trainer = trainer_of(tiny.functional("keras"), named(), trainer=Own, callbacks=callbacks, **options)
    wrap = np.float32
    trainer.train()
    assert saved() == [1, 2, 4, 6]
    assert trainer.state.best_metric == pytest.approx(0.5)
    wrap = str
    with pytest.raises(SettingError, match=r"metric_for_best_model='score' .* a number; eval_score is of type str"):
        trainer.train(resume_from_checkpoint=False)


def test_what_cannot_be_saved_by_the_trainer_is_said():
    from tf_hfwb import WandbModelCheckpoint

    trainer = trainer_of(
        tiny.functional("keras"),
        named(),
        callbacks=[WandbModelCheckpoint("own"), Recorder(asking("should_save", at=[1]))],
    )
    with pytest.raises(SettingError, match=r"control.should_save=True cannot be used.*Take WandbModelCheckpoint out"):
        trainer.train()


# -- early stopping ---------------------------------------------------------------------------------------------------

SCORES = [0.5, 0.6, 0.55, 0.58, 0.7, 0.7]
STOPPING = {
    "eval_strategy": "steps",
    "eval_steps": 1,
    "save_strategy": "steps",
    "save_steps": 1,
    "metric_for_best_model": "score",
    "load_best_model_at_end": True,
    "greater_is_better": True,
}


@pytest.mark.parametrize(
    ("kind", "patience", "last"),
    [
        ("keras", 1, 3),
        nightly("tf_keras", 2, 4),
        nightly("keras", 2, 4),
        nightly("keras", 3, 6),
        nightly("tf_keras", 1, 3),
    ],
)
def test_early_stopping(kind, patience, last):
    scores = iter(SCORES)
    trainer = trainer_of(
        tiny.functional(kind),
        named(),
        callbacks=[transformers.EarlyStoppingCallback(patience)],
        compute_metrics=lambda prediction: {"score": next(scores)},
        **STOPPING,
    )
    assert trainer.train().global_step == last
    best = max(SCORES[:last])
    assert (trainer.state.best_metric, trainer.state.best_global_step) == (best, SCORES.index(best) + 1)
    assert saved() == list(range(1, last + 1))


def test_early_stopping_asks_for_its_arguments():
    trainer = trainer_of(tiny.functional("keras"), named(), callbacks=[transformers.EarlyStoppingCallback])
    with pytest.raises(AssertionError, match="metric_for_best_model"):
        trainer.train()


def test_patience_is_counted_on_after_a_resume():
    def trainer(scores, patience, **more):
        return trainer_of(
            tiny.functional("keras"),
            named(),
            callbacks=[transformers.EarlyStoppingCallback(patience)],
            compute_metrics=lambda prediction: {"score": next(scores)},
            **{**STOPPING, **more},
        )

    scores = iter(SCORES)
    trainer(scores, 9, max_steps=3).train()
    resumed = trainer(scores, 2)
    assert resumed.train(True).global_step == 4
    assert resumed.callbacks[0].early_stopping_patience == 2
    assert resumed.state.best_metric == 0.6


# -- states in checkpoints --------------------------------------------------------------------------------------------


class Counting(transformers.TrainerCallback, transformers.trainer_callback.ExportableState):
    def __init__(self, unit=1):
        self.unit, self.count = unit, 0

    def on_step_end(self, args, state, control, **kwargs):
        self.count += self.unit

    def state(self):
        return {"args": {"unit": self.unit}, "attributes": {"count": self.count}}


def test_states_are_kept_in_checkpoints(caplog):
    options = {"save_strategy": "steps", "save_steps": 2}
    trainer_of(tiny.functional("keras"), named(), callbacks=[Counting(), Counting(10)], max_steps=4, **options).train()
    resumed = trainer_of(tiny.functional("keras"), named(), callbacks=[Counting(), Counting(100)], **options)
    resumed.train("trainer_output/checkpoint-2")
    assert [one.count for one in resumed.callbacks] == [6, 20 + 400]
    assert not caplog.records
    assert list(resumed.state.stateful_callbacks) == ["Counting", "TrainerControl"]
    trainer_of(tiny.functional("keras"), named(), num_train_epochs=3).train(True)
    assert "TrainerCallbacks, which no callback of this fit takes over" in caplog.text


def test_a_state_that_json_cannot_write_is_named_before_the_first_step():
    callback = Counting()
    callback.count = {1, 2}
    trainer = trainer_of(tiny.functional("keras"), named(), callbacks=[callback], save_strategy="steps")
    with pytest.raises(SettingError, match=r"Counting.state\(\)=.*Expected what JSON can write"):
        trainer.train()


# -- the list ---------------------------------------------------------------------------------------------------------


class Silent(transformers.TrainerCallback):
    pass


def test_callbacks_are_added_and_taken_out():
    keras = importlib.import_module("keras")
    of_keras = keras.callbacks.TerminateOnNaN()
    trainer = trainer_of(tiny.functional("keras"), named(), callbacks=[of_keras, Silent])
    assert isinstance(trainer.callbacks[1], Silent)
    trainer.add_callback(transformers.PrinterCallback)
    trainer.add_callback(keras.callbacks.History)
    assert trainer.pop_callback(transformers.PrinterCallback).__class__ is transformers.PrinterCallback
    assert trainer.pop_callback(transformers.PrinterCallback) is None
    trainer.remove_callback(of_keras)
    trainer.remove_callback(transformers.ProgressCallback)
    assert [type(one) for one in trainer.callbacks] == [Silent, keras.callbacks.History]
    trainer.train()

    class Adding(transformers.TrainerCallback):
        def on_step_end(self, *values, **kwargs):
            trainer.add_callback(Silent)

    trainer.add_callback(Adding)
    with pytest.raises(SettingError, match=r"add_callback=.* cannot be used. Expected no call while a training"):
        trainer.train()


@pytest.mark.parametrize(
    "callback", [transformers.ProgressCallback, transformers.PrinterCallback()], ids=["class", "object"]
)
def test_the_progress_is_switched_off_by_transformers_name_for_it(callback, capfd):
    trainer = trainer_of(tiny.functional("keras"), named(), disable_tqdm=False)
    trainer.train()
    assert "Training has ended" in capfd.readouterr().out
    trainer.remove_callback(callback)
    trainer.train()
    assert "Training" not in capfd.readouterr().out


def test_the_tracking_is_switched_off_by_transformers_name_for_it():
    from transformers.integrations import WandbCallback

    trainer = trainer_of(tiny.functional("keras"), named(), report_to="wandb")
    trainer.remove_callback(WandbCallback)
    trainer.train()
    trainer.evaluate()
    assert trainer.args.report_to == []
    assert not pathlib.Path("wandb").exists()


def test_the_flow_cannot_be_taken_out():
    trainer = trainer_of(tiny.functional("keras"), named())
    with pytest.raises(SettingError, match=r"DefaultFlowCallback.*Set logging_strategy, eval_strategy and save_strat"):
        trainer.remove_callback(transformers.DefaultFlowCallback)


def test_the_default_flow_has_no_effect():
    recorder = Recorder()
    trainer = trainer_of(
        tiny.functional("keras"), named(), callbacks=[transformers.DefaultFlowCallback(), recorder], num_train_epochs=1
    )
    trainer.train()
    assert recorder.names().count("on_step_end") == 3


@needs("tf_keras")
def test_callbacks_that_cannot_work_are_refused_with_what_to_do(monkeypatch):
    from transformers.integrations import TensorBoardCallback, WandbCallback, integration_utils

    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: True)  # As with tensorboard alone.
    monkeypatch.setitem(sys.modules, "tensorboardX", None)

    class OwnRows(WandbCallback):
        def on_log(self, *values, **kwargs):
            raise AssertionError

    class OwnTable(WandbCallback):
        def on_evaluate(self, *values, **kwargs):
            raise AssertionError

    class Gradients(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, *values, **kwargs):
            raise AssertionError

    class WithArguments(transformers.TrainerCallback):
        def __init__(self, trainer):
            raise AssertionError

    for callback, message in [
        (WandbCallback(), "no WandbCallback: the trainer logs to W&B itself, by report_to='wandb'. Take it out"),
        (OwnRows, "no on_log in a class derived from WandbCallback.*Derive the class from transformers.TrainerCall"),
        (OwnTable, "no class derived from WandbCallback without report_to='wandb'"),
        (Gradients, "no on_pre_optimizer_step in a callback.*one compiled function. Use WandbWatch"),
        (WithArguments, r"an object, as the class cannot be made without arguments.*Write WithArguments\(...\)"),
        (
            TensorBoardCallback,
            "a writer for it, as neither torch nor tensorboardX is installed: it would write nothing",
        ),
    ]:
        with pytest.raises(SettingError, match=f"callbacks=.* cannot be used. Expected {message}"):
            trainer_of(tiny.functional("keras"), named(), callbacks=[callback])
        trainer = trainer_of(tiny.functional("keras"), named())
        with pytest.raises(SettingError, match=message):
            trainer.add_callback(callback)
        assert trainer.callbacks == []


def test_control_is_a_plain_dataclass_that_scripts_read():
    trainer = trainer_of(tiny.functional("keras"), named(), callbacks=[Recorder()])
    trainer.train()
    assert dataclasses.asdict(trainer.control) == {
        "should_training_stop": True,
        **dict.fromkeys(("should_epoch_stop", "should_save", "should_evaluate", "should_log"), False),
    }
