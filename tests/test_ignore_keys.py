"""ignore_keys: the outputs of a model that are not among its predictions."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tiny
from helpers import KERASES, nightly, samples

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SettingError


def trainer_of(model, data, *, compute_metrics=None, **options):
    return TFTrainer(
        model,
        TFTrainingArguments(report_to="none", disable_tqdm=True, per_device_eval_batch_size=4, **options),
        train_dataset=data,
        eval_dataset=data,
        processing_class=tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None,
        compute_metrics=compute_metrics,
    )


@pytest.mark.nightly
def test_outputs_are_left_out_of_predictions():
    trainer = trainer_of(tiny.t5(), tiny.answered())
    logits, hidden = trainer.predict(trainer.eval_dataset).predictions  # The configuration names the caches only.
    found = trainer.predict(trainer.eval_dataset, ["encoder_last_hidden_state", "past_key_values"])
    np.testing.assert_array_equal(found.predictions, logits)
    (left,) = (trainer.predict(trainer.eval_dataset, ignore_keys=["logits"]).predictions,)
    np.testing.assert_array_equal(left, hidden)
    assert found.metrics["test_loss"] == pytest.approx(trainer.evaluate()["eval_loss"])
    again, _ = trainer.predict(trainer.eval_dataset).predictions
    np.testing.assert_array_equal(again, logits)


@pytest.mark.parametrize("by_batches", [False, nightly(True)])
def test_metrics_get_what_is_left(by_batches):
    shapes = []

    def note(prediction, compute_result=True):
        shapes.append(np.shape(prediction.predictions))
        return {"width": 1.0}

    trainer = trainer_of(tiny.t5(), tiny.answered(), compute_metrics=note, batch_eval_metrics=by_batches)
    assert trainer.evaluate(None, ["logits"], "mine")["mine_width"] == 1.0
    assert {shape[-1] for shape in shapes} == {16}  # The encoder's width, and not that of the vocabulary.


@pytest.mark.nightly
def test_evaluations_of_a_training():
    seen = []

    def note(prediction):
        seen.append(isinstance(prediction.predictions, tuple))
        return {}

    options = {"max_steps": 2, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "no"}
    trainer = trainer_of(tiny.t5(), tiny.answered(), compute_metrics=note, **options)
    trainer.train(ignore_keys_for_eval=["encoder_last_hidden_state"])
    assert seen == [False, False]
    trainer.train()
    assert seen == [False, False, True, True]


@pytest.mark.parametrize("kind", KERASES)
def test_a_plain_model_names_its_outputs_too(kind):
    keras = importlib.import_module(kind)
    x = keras.Input((4,), name="x")
    outputs = {"first": keras.layers.Dense(3, name="first")(x), "second": keras.layers.Dense(2, name="second")(x)}
    model = keras.Model({"x": x}, outputs)
    model.compile(loss={"first": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
    data = {"x": samples(11)[0]}
    trainer = trainer_of(model, data)
    assert len(trainer.predict(data).predictions) == 2
    assert trainer.predict(data, ignore_keys=["first"]).predictions.shape == (11, 2)


def test_the_prefix_is_no_list_of_names():
    trainer = trainer_of(tiny.functional("keras"), tiny.named(samples(8)))
    with pytest.raises(SettingError, match=r"ignore_keys='test'.*Pass metric_key_prefix by its name"):
        trainer.evaluate(trainer.eval_dataset, "test")
