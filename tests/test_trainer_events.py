"""Callbacks of transformers' Trainer in a TFTrainer: the events, their order, and what callbacks are told."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import transformers
from helpers import KERASES, nightly, on_both, samples
from trainer_events import EVENTS, Recorder, Reference

from tf_hfwb import TFTrainer, TFTrainingArguments


def named(number: int = 11):
    return tiny.named(samples(number))


def trainer_of(model, data, *, callbacks=(), eval_dataset=None, **options):
    defaults = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "num_train_epochs": 2}
    defaults |= {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4}
    return TFTrainer(
        model,
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=data,
        eval_dataset=data if eval_dataset is None else eval_dataset,
        processing_class=tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None,
        callbacks=callbacks,
    )


def by_steps(logging=2, evaluation=2, saving=2):
    return {
        "logging_steps": logging,
        "eval_strategy": "steps",
        "eval_steps": evaluation,
        "save_strategy": "steps",
        "save_steps": saving,
    }


BY_EPOCHS = dict.fromkeys(("logging_strategy", "eval_strategy", "save_strategy"), "epoch")
SETTINGS = {
    "by steps": by_steps(),
    "at the last step of each epoch": by_steps(3, 3, 3),
    "at every step": by_steps(1, 1, 1),
    "first step too": {**by_steps(4, 3, 5), "logging_first_step": True},
    "by epochs": BY_EPOCHS,
    "epochs evaluated, steps logged": {**BY_EPOCHS, "logging_strategy": "steps", "logging_steps": 2},
    "steps evaluated, epochs saved": {**by_steps(), "save_strategy": "epoch"},
    "nothing": {"logging_strategy": "no"},
    "only rows": {"logging_steps": 3},
    "ends within an epoch": {**by_steps(2, 3, 4), "max_steps": 4},
    "a share of all steps": by_steps(0.5, 0.5, 0.5),
    "part of an epoch": {**BY_EPOCHS, "num_train_epochs": 1.5},
}


SELDOM = ["at every step", "epochs evaluated, steps logged", "nothing", "only rows"]
OFTEN = [name for name in SETTINGS if name not in SELDOM]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *on_both(OFTEN, "by steps", "ends within an epoch"),
        *(nightly(kind, name) for kind in KERASES for name in SELDOM),
    ],
)
def test_events_come_in_the_order_of_the_trainer(kind, name):
    expected, found = Recorder(), Recorder()
    trainer = trainer_of(tiny.functional(kind), named(), callbacks=[found], **SETTINGS[name])
    Reference(trainer.args, expected, batches=3, eval_batches=3).train()
    trainer.train()
    assert found.heard == expected.heard


MODELS = {
    "bert": (tiny.bert, tiny.classified),
    "distilbert": (tiny.distilbert, tiny.tagged),
    "gpt2": (tiny.gpt2, tiny.next_words),
    "t5": (tiny.t5, tiny.answered),
    "vit": (tiny.vit, tiny.pictures),
}


@pytest.mark.parametrize("name", ["bert", *map(nightly, ("distilbert", "gpt2", "t5", "vit"))])
def test_events_of_models_of_transformers(name):
    make, data = MODELS[name]
    expected, found = Recorder(), Recorder()
    trainer = trainer_of(make(), data(), callbacks=[found], **by_steps(), max_steps=4)
    Reference(trainer.args, expected, batches=3, eval_batches=3, train_names=["loss"]).train()
    trainer.train()

    def without_accuracy(heard):
        return [tuple(part for part in event if part != "eval_accuracy") for event in heard]

    assert found.heard == without_accuracy(expected.heard)


def test_each_of_several_datasets_is_told():
    expected, found = Recorder(), Recorder()
    sets = {"a": named(), "b": named()}
    trainer = trainer_of(tiny.functional("keras"), named(), callbacks=[found], eval_dataset=sets, **by_steps())
    Reference(trainer.args, expected, batches=3, eval_batches=3, eval_names=("a", "b")).train()
    trainer.train()
    assert found.heard == expected.heard


def test_a_checkpoint_of_the_last_step_comes_behind_an_evaluation_of_the_epoch():
    """The one difference in the order: Keras's own callbacks get the metrics first, and their counts are saved."""
    found = Recorder()
    settings = {"eval_strategy": "epoch", "save_strategy": "steps", "save_steps": 3, "logging_strategy": "no"}
    trainer_of(tiny.functional("keras"), named(), callbacks=[found], num_train_epochs=1, **settings).train()
    names = [name for name in found.names() if name not in ("on_prediction_step", "on_optimizer_step")]
    assert names[-8:] == [
        *("on_step_begin", "on_step_end", "on_epoch_end", "on_log", "on_evaluate", "on_save"),
        *("on_log", "on_train_end"),
    ]


@pytest.mark.parametrize("stride", [2, nightly(3)])
def test_several_steps_in_one_execution_are_told_as_one(stride):
    found = Recorder()
    model = tiny.functional("keras", steps_per_execution=stride)
    trainer = trainer_of(model, named(24), callbacks=[found], num_train_epochs=1, logging_steps=1)
    trainer.train()
    told = [event[1] for event in found.heard if event[0] == "on_step_end"]
    assert told == list(range(stride, 7, stride))
    assert [row["step"] for row in trainer.state.log_history[:-1]] == told


def test_evaluations_and_predictions_outside_of_a_training():
    found = Recorder()
    trainer = trainer_of(tiny.functional("keras"), named(), callbacks=[found])
    metrics = trainer.evaluate()
    trainer.predict(named(), metric_key_prefix="mine")
    names = ["on_init_end", *["on_prediction_step"] * 3, "on_log", "on_evaluate", *["on_prediction_step"] * 3]
    assert found.names() == [*names, "on_predict"]
    assert found.keywords["on_evaluate"]["metrics"] == metrics
    assert "mine_loss" in found.heard[-1]
    assert "epoch" not in metrics
    trainer.train()
    assert trainer.evaluate()["epoch"] == 2.0
    assert trainer.state.log_history[-1]["eval_loss"] == found.keywords["on_evaluate"]["metrics"]["eval_loss"]


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_what_callbacks_are_handed(kind):
    found = Recorder()
    model = tiny.functional(kind)
    trainer = trainer_of(model, named(), callbacks=[found], **by_steps())
    trainer.processing_class = None
    trainer.train()
    trainer.predict(named())
    assert set(found.keywords) == {*EVENTS} - {"on_substep_end"}
    always = {"model", "processing_class", "optimizer", "lr_scheduler", "train_dataloader", "eval_dataloader"}
    for event, more in found.keywords.items():
        extra = {"on_log": {"logs"}, "on_evaluate": {"metrics"}, "on_predict": {"metrics"}}.get(event, set())
        assert set(more) == always | extra
        assert more["model"] is model
    more = found.keywords["on_step_end"]
    assert more["optimizer"] is model.optimizer
    assert float(np.asarray(more["lr_scheduler"](3))) == pytest.approx(5e-5 / 2)
    assert len(more["train_dataloader"]) == 3
    assert len(found.keywords["on_evaluate"]["eval_dataloader"]) == 3
    features, labels = next(iter(more["train_dataloader"]))
    assert (features["x"].shape, labels.shape) == ((4, 4), (4,))


def test_the_state_is_that_of_transformers():
    states = []

    class Reader(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            states.append((state.global_step, state.epoch, len(state.log_history)))

    trainer = trainer_of(tiny.functional("keras"), named(), callbacks=[Reader], **by_steps(), learning_rate=0.5)
    assert isinstance(trainer.state, transformers.TrainerState)
    assert isinstance(trainer.control, transformers.TrainerControl)
    assert (trainer.state.global_step, trainer.state.epoch, trainer.state.log_history) == (0, None, [])
    trainer.args.metric_for_best_model = "loss"
    output = trainer.train()
    state = trainer.state
    assert states == [(1, 1 / 3, 0), (2, 2 / 3, 0), (3, 1.0, 2), (4, 1 + 1 / 3, 2), (5, 1 + 2 / 3, 4), (6, 2.0, 4)]
    assert (state.max_steps, state.num_train_epochs, state.train_batch_size) == (6, 2, 4)
    assert (state.logging_steps, state.eval_steps, state.save_steps) == (2, 2, 2)
    assert (state.is_world_process_zero, state.total_flos, state.is_hyper_param_search) == (True, 0, False)
    assert list(state.stateful_callbacks) == ["TrainerControl"]
    losses = {row["step"]: row["eval_loss"] for row in state.log_history if "eval_loss" in row}
    assert state.best_metric == min(losses.values())
    assert losses[state.best_global_step] == state.best_metric
    assert state.best_model_checkpoint == f"trainer_output/checkpoint-{state.best_global_step}"
    last = state.log_history[-1]
    assert {"train_runtime", "train_loss", "train_steps_per_second", "epoch", "step"} <= set(last)
    assert output.metrics["epoch"] == 2.0


# -- one update of several batches ------------------------------------------------------------------------------------


def test_an_update_of_several_batches_is_one_step_with_substeps():
    import keras

    found = Recorder()
    trainer = trainer_of(tiny.functional("keras"), named(24), callbacks=[found], num_train_epochs=1)
    trainer_of_sgd = TFTrainer(
        trainer.model,
        trainer.args,
        train_dataset=named(24),
        callbacks=[found],
        optimizers=(keras.optimizers.SGD(0.1, gradient_accumulation_steps=3), None),
    )
    found.heard.clear()
    trainer_of_sgd.train()
    step = ["on_step_begin", "on_substep_end", "on_substep_end", "on_optimizer_step", "on_step_end"]
    names = [name for name in found.names() if name != "on_log"]
    assert names == ["on_train_begin", "on_epoch_begin", *step, *step, "on_epoch_end", "on_train_end"]
    assert [event[1] for event in found.heard if event[0] == "on_step_end"] == [1, 2]


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_gradient_accumulation_steps_has_substeps(kind):
    found = Recorder()
    options = {"num_train_epochs": 1, "gradient_accumulation_steps": 4, "logging_strategy": "no"}
    trainer_of(tiny.functional(kind), named(24), callbacks=[found], **options).train()
    names = [name for name in found.names() if name not in ("on_init_end", "on_log")]
    steps = [["on_step_begin", *["on_substep_end"] * more, "on_optimizer_step", "on_step_end"] for more in (3, 1)]
    assert names == ["on_train_begin", "on_epoch_begin", *steps[0], *steps[1], "on_epoch_end", "on_train_end"]
    assert [event[1] for event in found.heard if event[0] == "on_substep_end"] == [0, 0, 0, 1]
