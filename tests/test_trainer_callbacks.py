"""TFTrainer's callbacks: those it makes, those it takes, and the hooks it calls; methods that it would not call."""

from __future__ import annotations

import importlib
import logging
import pathlib

import numpy as np
import pytest
import tiny
import transformers
from helpers import finish, nightly, records, samples

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbMetricsLogger, WandbModelCheckpoint, load_model
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import SettingError


def trainer_of(model, data, *, trainer=TFTrainer, callbacks=(), compute_metrics=None, **options):
    defaults = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "max_steps": 2}
    defaults |= {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4}
    return trainer(
        model,
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=data,
        eval_dataset=data,
        processing_class=tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None,
        callbacks=callbacks,
        compute_metrics=compute_metrics,
    )


def named(number: int = 11):
    return tiny.named(samples(number))


# -- the model at the end, whatever is saved before -------------------------------------------------------------------


@pytest.mark.parametrize("word", ["end", nightly("Checkpoint")])
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_the_model_that_was_asked_for_is_logged_without_checkpoints(kind, word, monkeypatch):
    monkeypatch.setenv("WANDB_LOG_MODEL", word)
    trainer = trainer_of(tiny.functional(kind), named(), report_to="wandb", run_name="run")
    trainer.train()
    directory = finish()
    assert [record["artifact"]["name"] for record in records(directory) if record["type"] == "artifact"] == [
        "model-run"
    ]
    assert Store("trainer_output").checkpoints() == []
    loaded = load_model("model-run:final").get_weights()
    for left, right in zip(loaded, trainer.model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_registry_asks_for_the_model_too(caplog):
    """It needs a server, which the run that is offline says."""
    trainer_of(tiny.functional("keras"), named(), report_to="wandb", run_name="run", link_to_registry="bert").train()
    directory = finish()
    assert [record["artifact"]["name"] for record in records(directory) if record["type"] == "artifact"] == [
        "model-run"
    ]
    assert "registry" in caplog.text


def test_nothing_is_made_that_nobody_asked_for(monkeypatch):
    trainer_of(tiny.functional("keras"), named(), report_to="wandb").train()
    monkeypatch.setenv("WANDB_LOG_MODEL", "end")
    trainer_of(tiny.functional("keras"), named()).train()
    assert not pathlib.Path("trainer_output").exists()
    with pytest.raises(SettingError, match=r"monitor='val_loss' cannot be used. Expected None with save_freq='no'"):
        WandbModelCheckpoint("out", save_freq="no", monitor="val_loss")


# -- the hooks of evaluations and predictions ------------------------------------------------------------------------


def listener(kind):
    keras = importlib.import_module(kind)

    class Listener(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.heard = []

    def hook(name):
        def heard(self, *values):
            logs = values[-1] or {}
            self.heard.append((name, *values[:-1], *sorted(logs)))
            assert self.model is not None
            assert all(np.isfinite(value) for name, value in logs.items() if name == "loss")

        return lambda self, *values, logs=None: heard(self, *values, logs)

    def batch_hook(name):
        return lambda self, batch, logs=None: hook(name)(self, batch, logs=logs)

    for what in ("test", "predict"):
        for event in ("begin", "end"):
            setattr(
                Listener, f"on_{what}_{event}", lambda self, logs=None, n=f"{what}_{event}": hook(n)(self, logs=logs)
            )
            setattr(Listener, f"on_{what}_batch_{event}", batch_hook(f"{what}_batch_{event}"))
    return Listener()


MODELS = {
    "bert": ("tf_keras", tiny.bert, tiny.classified),
    "tf_keras": ("tf_keras", lambda: tiny.functional("tf_keras"), named),
    "keras": ("keras", lambda: tiny.functional("keras"), named),
}


@pytest.mark.parametrize(
    ("name", "computed"),
    [
        ("bert", True),
        ("tf_keras", False),
        ("keras", True),
        *(nightly("bert", False), nightly("tf_keras", True), nightly("keras", False)),
    ],
)
def test_evaluations_and_predictions_call_the_hooks_of_the_users_callbacks(name, computed):
    kind, make, data = MODELS[name]
    own = listener(kind)
    metrics = (lambda prediction: {"one": 1.0}) if computed else None
    trainer = trainer_of(make(), data(), callbacks=[own], compute_metrics=metrics)

    def names(events):
        return [event[:2] if "batch" in event[0] else event[:1] for event in events]

    def expected(what):
        batches = [(f"{what}_batch_{event}", batch) for batch in range(3) for event in ("begin", "end")]
        return [(f"{what}_begin",), *batches, (f"{what}_end",)]

    trainer.evaluate()
    assert names(own.heard) == expected("test")
    assert own.params["steps"] == 3
    assert "loss" in own.heard[2]  # At the end of the first batch, and
    assert "loss" in own.heard[-1]  # of all.
    own.heard.clear()
    trainer.predict(data())
    assert names(own.heard) == expected("predict")
    assert own.heard[2][2:] == ("outputs",)


@pytest.mark.parametrize("name", [nightly("bert"), "keras", nightly("tf_keras")])
def test_the_hooks_of_an_evaluation_within_a_training(name):
    kind, make, data = MODELS[name]
    own = listener(kind)
    trainer = trainer_of(make(), data(), callbacks=[own], eval_strategy="steps", eval_steps=1, max_steps=3)
    trainer.train()
    assert [event[0] for event in own.heard if "batch" not in event[0]] == ["test_begin", "test_end"] * 3
    assert own.params["epochs"] == 1  # Those of the fit,
    assert own.params["steps"] == 3
    assert own.params["verbose"] == 0


def test_an_evaluate_of_ones_own_is_called_within_a_training():
    class Own(TFTrainer):
        def evaluate(self, eval_dataset=None, metric_key_prefix="eval"):
            return super().evaluate(eval_dataset, metric_key_prefix=metric_key_prefix) | {"eval_mine": 0.5}

    trainer = trainer_of(tiny.functional("keras"), named(), trainer=Own, eval_strategy="epoch")
    trainer.train()
    assert trainer.model.history.history["val_mine"] == [0.5]


# -- what cannot be among them ---------------------------------------------------------------------------------------


def test_callbacks_that_cannot_work_are_refused_with_what_to_do():
    import wandb
    from wandb.integration.keras import WandbMetricsLogger as Theirs

    with wandb.init():
        theirs = Theirs()
    for callback, message in [
        (WandbMetricsLogger(), "no WandbMetricsLogger: the trainer makes it.*Take it out"),
        (theirs, "no WandbMetricsLogger of W&B's beside that of tf_hfwb"),
        (WandbMetricsLogger, "no WandbMetricsLogger: the trainer makes it"),
        ("wandb", "callbacks, not 'wandb'"),
    ]:
        with pytest.raises(SettingError, match=f"callbacks=.* cannot be used. Expected .*{message}"):
            trainer_of(tiny.functional("keras"), named(), callbacks=[callback])
    checkpoints = WandbModelCheckpoint("out")
    with pytest.raises(
        SettingError, match=r"beside the one that save_strategy='steps' asks for.*set save_strategy='no'"
    ):
        trainer_of(tiny.functional("keras"), named(), callbacks=[checkpoints], save_strategy="steps")
    trainer_of(tiny.functional("keras"), named(), callbacks=[checkpoints]).train()
    assert [checkpoint.step for checkpoint in Store("out").checkpoints()] == [2]
    trainer = trainer_of(tiny.functional("keras"), named())
    trainer.callbacks.append("wandb")
    for call in (trainer.train, trainer.evaluate):
        with pytest.raises(SettingError, match="callbacks, not 'wandb'"):
            call()


def test_arguments_of_the_other_class():
    args = transformers.TrainingArguments("out", report_to="none", use_cpu=True)
    with pytest.raises(SettingError, match=r"args='transformers.TrainingArguments' cannot be used. Expected tf_hfwb"):
        TFTrainer(tiny.functional("keras"), args)


# -- a model that has no weights yet ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weights_format", ["tf", "pt"])
def test_a_model_made_from_its_config_is_saved_before_any_training(weights_format):
    model = transformers.TFBertForSequenceClassification(tiny.bert_config())
    path = TFTrainer(model, TFTrainingArguments("out", report_to="none")).save_model(weights_format=weights_format)
    assert (path / "model.safetensors").exists()
    if weights_format == "tf":
        loaded = transformers.TFBertForSequenceClassification.from_pretrained(path)
        np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_a_plain_model_without_weights_is_built_by_its_data(kind):
    keras = importlib.import_module(kind)

    def make():
        model = keras.Sequential([keras.layers.Dense(3)])
        model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    saved = make()
    path = trainer_of(saved, samples(11)).save_model("saved")
    loaded = keras.models.load_model(path / "model.keras")
    assert len(loaded.get_weights()) == 2
    np.testing.assert_array_equal(loaded.get_weights()[0], saved.get_weights()[0])
    trainer_of(make(), samples(11), save_strategy="steps", max_steps=2).train()
    assert trainer_of(make(), samples(11), save_strategy="steps", max_steps=3).train(True).global_step == 3


# -- what is saved beside tensors ------------------------------------------------------------------------------------


def test_numbers_of_numpy_in_a_models_configuration_are_written(caplog):
    model = tiny.gpt2()
    model.config.id2label = {np.int64(0): "a"}
    model.generation_config.top_k = np.int64(5)  # Which save_pretrained refuses without do_sample.
    with caplog.at_level(logging.WARNING):
        trainer = trainer_of(model, tiny.next_words(), save_strategy="steps", output_dir=pathlib.Path("out"))
        trainer.train()
    assert [checkpoint.step for checkpoint in Store("out").checkpoints()] == [2]
    for path in ("out/checkpoint-2", trainer.save_model("saved")):
        assert transformers.GenerationConfig.from_pretrained(path).top_k == 5
        assert transformers.AutoConfig.from_pretrained(path).id2label == {0: "a"}
    model.config.strange = {1, 2}
    with pytest.raises(SettingError, match=r"model.config.strange={1, 2} cannot be used. Expected what JSON can write"):
        trainer_of(model, tiny.next_words(), save_strategy="steps").train()
    with pytest.raises(SettingError, match=r"model.config.strange"):
        trainer.save_model("again")
    assert not pathlib.Path("again").exists()


def test_a_tokenizer_that_cannot_be_written_is_named_before_the_first_step():
    trainer = trainer_of(tiny.gpt2(), tiny.next_words(), save_strategy="steps")
    trainer.processing_class = tiny.tokenizer(strange={1, 2})
    with pytest.raises(
        SettingError, match=r"processing_class='PreTrainedTokenizerFast' cannot be used.*save_pretrained"
    ):
        trainer.train()
