"""NEFTune: noise on the input embeddings, in training only."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tiny
from helpers import nightly, samples

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import add_noise, remove_noise

MODELS = {"gpt2": (tiny.gpt2, tiny.next_words), "t5": (tiny.t5, tiny.answered)}


def trainer_of(model, data, **options) -> TFTrainer:
    defaults = {
        "per_device_train_batch_size": 4,
        "max_steps": 4,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "neftune_noise_alpha": 5.0,
    }
    tokenizer = tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None
    args = TFTrainingArguments(**{**defaults, **options})
    return TFTrainer(model, args, train_dataset=data, eval_dataset=data, processing_class=tokenizer)


def weights_of(model) -> np.ndarray:
    return np.concatenate([np.asarray(weight).ravel() for weight in model.trainable_variables])


@pytest.mark.parametrize("name", MODELS)
def test_noise_is_as_large_as_transformers_makes_it(name):
    model = MODELS[name][0]()
    embedding, ids = model.get_input_embeddings(), tf.constant(np.arange(14).reshape(2, 7))
    clean = np.asarray(embedding(ids))
    assert add_noise(model, 5.0)
    np.testing.assert_array_equal(np.asarray(embedding(ids)), clean)

    layer = embedding.tf_hfwb_noise
    noisy = tf.function(lambda ids: layer(embedding(ids), training=True))
    noise = np.asarray(noisy(ids)) - clean
    limit = 5.0 / np.sqrt(7 * 16)
    assert 0.9 * limit < np.abs(noise).max() <= limit * 1.0001
    assert abs(noise.mean()) < 0.1 * limit
    assert np.abs(np.asarray(noisy(ids)) - clean - noise).max() > 0
    remove_noise(model)
    np.testing.assert_array_equal(np.asarray(embedding(ids)), clean)


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name if name == "gpt2" else nightly(name) for name in MODELS])
def test_it_is_there_in_training_only(name):
    make, data = MODELS[name]
    noisy, plain = trainer_of(make(), data()), trainer_of(make(), data(), neftune_noise_alpha=None)
    assert noisy.evaluate()["eval_loss"] == plain.evaluate()["eval_loss"]
    assert noisy.train().training_loss != plain.train().training_loss
    again = trainer_of(plain.model, data(), neftune_noise_alpha=None, learning_rate=0.0)
    assert again.train().training_loss == pytest.approx(again.evaluate()["eval_loss"], rel=0.2)
    assert not hasattr(noisy.model.get_input_embeddings(), "tf_hfwb_noise")
    assert len(noisy.model.weights) == len(plain.model.weights)


@pytest.mark.nightly
def test_a_resumed_training_draws_the_same_noise():
    options = {"save_strategy": "steps", "save_steps": 2}
    straight = trainer_of(tiny.gpt2(), tiny.next_words(), output_dir="straight", **options)
    straight.train()
    resumed = trainer_of(tiny.gpt2(), tiny.next_words(), output_dir="out", **options)
    resumed.train(resume_from_checkpoint="straight/checkpoint-2")
    np.testing.assert_array_equal(weights_of(resumed.model), weights_of(straight.model))


@pytest.mark.nightly
def test_it_goes_with_16_bits_and_gradient_checkpointing():
    options = {"bf16": True, "gradient_checkpointing": True}
    trainer = trainer_of(tiny.gpt2(dropout=0.1), tiny.next_words(), **options)
    assert np.isfinite(trainer.train().training_loss)


@pytest.mark.parametrize("model", ["bert", "plain"])
def test_models_without_such_a_layer_are_refused(model):
    made = tiny.bert() if model == "bert" else tiny.functional("keras")
    data = tiny.classified() if model == "bert" else tiny.named(samples(11))
    with pytest.raises(SettingError, match=r"neftune_noise_alpha=5.0 cannot be used\. Expected None with"):
        trainer_of(made, data).train()


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), "x"])
def test_an_alpha_is_above_0(alpha):
    with pytest.raises(SettingError, match=r"neftune_noise_alpha=.* Expected a finite number above 0, or None"):
        TFTrainingArguments(neftune_noise_alpha=alpha)
