"""Activations that are computed again in the backward pass, with the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
import transformers
from helpers import KERASES, nightly, samples

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import host_of, keep_activations, recompute_blocks
from tf_hfwb.keras_compat.tf_keras_generators import generators_of
from tf_hfwb.trainer.gradient_checkpointing_argument import use_gradient_checkpointing


def bert():
    return tiny.bert(num_hidden_layers=2, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)


MODELS = {
    "bert": (bert, tiny.classified),
    "gpt2": (lambda: tiny.gpt2(dropout=0.3), tiny.next_words),
    "t5": (lambda: tiny.t5(dropout=0.3), tiny.answered),
    "vit": (lambda: tiny.vit(dropout=0.3), tiny.pictures),
    "distilbert": (tiny.distilbert, tiny.tagged),
}


def trainer_of(model, data, **options) -> TFTrainer:
    defaults = {
        "per_device_train_batch_size": 4,
        "max_steps": 4,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    tokenizer = tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None
    args = TFTrainingArguments(**{**defaults, **options})
    return TFTrainer(model, args, train_dataset=data, processing_class=tokenizer)


def weights_of(model) -> np.ndarray:
    return np.concatenate([np.asarray(weight).ravel() for weight in model.trainable_variables])


def gradients_of(model, batch, states) -> tuple[list[np.ndarray], int]:
    """The gradients of one step whose generators begin at these states, and how many products its graph has."""
    generators = [one._generator for _, one in generators_of(model)]
    for generator, state in zip(generators, states, strict=True):
        generator.state.assign(state)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(batch, training=True).loss)
        return tape.gradient(loss, model.trainable_variables)

    gradients = [np.asarray(tf.convert_to_tensor(one)) for one in step() if one is not None]
    graph = step.get_concrete_function().graph
    return gradients, sum(
        operation.type in ("MatMul", "BatchMatMulV2", "Einsum") for operation in graph.get_operations()
    )


@pytest.mark.parametrize("name", ["bert", nightly("t5"), nightly("gpt2"), nightly("vit")])
def test_gradients_are_the_same_with_dropout(name):
    make, data = MODELS[name]
    model = make()
    inputs, labels = next(iter(trainer_of(model, data())._batch_factory().prediction(data()).dataset))
    batch = {**inputs, "labels": labels["labels"] if isinstance(labels, dict) else labels}
    assert recompute_blocks(model)
    first = [np.array([7 * index, index, 3], np.int64) for index, _ in enumerate(generators_of(model))]
    gradients_of(model, batch, first)  # Seeds are given when a layer is traced for the first time.
    found, more = gradients_of(model, batch, first)
    keep_activations(model)
    expected, fewer = gradients_of(model, batch, first)
    assert len(found) == len(expected)
    assert more > fewer
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["bert", *map(nightly, ["gpt2", "t5", "vit", "distilbert"])])
def test_models_train_with_it(name):
    make, data = MODELS[name]
    plain = trainer_of(make(), data())
    checkpointed = trainer_of(make(), data(), gradient_checkpointing=True)
    assert checkpointed.train().training_loss == pytest.approx(plain.train().training_loss, rel=0.2)
    again = trainer_of(make(), data(), gradient_checkpointing=True)
    again.train()
    np.testing.assert_array_equal(weights_of(again.model), weights_of(checkpointed.model))


def test_without_dropout_the_weights_are_the_same():
    plain = trainer_of(tiny.gpt2(), tiny.next_words())
    checkpointed = trainer_of(tiny.gpt2(), tiny.next_words(), gradient_checkpointing=True)
    assert checkpointed.train().training_loss == pytest.approx(plain.train().training_loss, rel=1e-6)
    np.testing.assert_allclose(weights_of(checkpointed.model), weights_of(plain.model), atol=1e-6)


@pytest.mark.nightly
@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_it_goes_with_16_bits_and_a_resume(half):
    options = {"gradient_checkpointing": True, "save_strategy": "steps", "save_steps": 2, half: True}
    straight = trainer_of(bert(), tiny.classified(), output_dir="straight", **options)
    straight.train()
    resumed = trainer_of(bert(), tiny.classified(), output_dir="out", **options)
    resumed.train(resume_from_checkpoint="straight/checkpoint-2")
    np.testing.assert_array_equal(weights_of(resumed.model), weights_of(straight.model))


@pytest.mark.parametrize("package", KERASES)
def test_plain_models_are_refused_with_the_way_out(package):
    trainer = trainer_of(tiny.functional(package), tiny.named(samples(11)), gradient_checkpointing=True)
    with pytest.raises(SettingError, match=r"gradient_checkpointing=True .* Make its layers in a keras\.RematScope"):
        trainer.train()


class Shallow(transformers.TFPreTrainedModel):
    """A model without blocks."""

    config_class = transformers.BertConfig

    def __init__(self, config):
        super().__init__(config)
        self.dense = tf_keras.layers.Dense(3)


def test_models_without_blocks_are_refused():
    args = TFTrainingArguments(gradient_checkpointing=True)
    with pytest.raises(SettingError, match=r"Expected False with Shallow, which has no list of blocks"):
        use_gradient_checkpointing(host_of(Shallow(tiny.bert_config())), args)
