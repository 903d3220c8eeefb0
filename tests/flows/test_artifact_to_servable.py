"""A trained model of each architecture, from the name of its artifact to a servable with one command."""

from __future__ import annotations

import numpy as np
import pytest
import serving_texts
import tensorflow as tf
import tf_keras
import tiny
import transformers
from helpers import nightly

from tf_hfwb import WandbModelCheckpoint, load_model
from tf_hfwb.cli import main

TEXTS = ["The quick brown fox didn't jump", "", "Les élèves 😀 à l'école", "世界 [SEP] </s> <mask> hahaha"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def bert(tokenizer):
    return transformers.TFBertForSequenceClassification, transformers.BertConfig(len(tokenizer), num_labels=3, **SIZES)


def distilbert(tokenizer):
    config = transformers.DistilBertConfig(len(tokenizer), dim=16, n_layers=1, n_heads=2, hidden_dim=16, num_labels=3)
    return transformers.TFDistilBertForSequenceClassification, config


def roberta(tokenizer):
    config = transformers.RobertaConfig(
        len(tokenizer), max_position_embeddings=40, type_vocab_size=1, num_labels=3, **SIZES
    )
    return transformers.TFRobertaForSequenceClassification, config


def gpt2(tokenizer):
    return transformers.TFGPT2LMHeadModel, transformers.GPT2Config(
        len(tokenizer), n_positions=48, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )


TEXT_MODELS = {
    "bert": (bert, lambda: serving_texts.wordpiece(lowercase=True)),
    "distilbert": (distilbert, lambda: serving_texts.wordpiece(lowercase=False)),
    "roberta": (roberta, lambda: serving_texts.byte_level("roberta")),
    "gpt2": (gpt2, lambda: serving_texts.byte_level("gpt2", pad_token="<|endoftext|>", padding_side="left")),
}


def servable(model, inputs, labels, processing):
    """Train it, log it, and export it by name; the model as anybody would load it, and the SavedModel's signatures."""
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-2), loss)
    saving = WandbModelCheckpoint("out", log_model="end", artifact_name="first", processing_class=processing)
    model.fit(tf.data.Dataset.from_tensors((dict(inputs), labels)).repeat(3), callbacks=[saving], verbose=0)
    assert main(["export", "model-first:final", "served", "--max_new_tokens", "4"]) == 0
    return load_model("model-first:final"), tf.saved_model.load("served/1").signatures


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["bert", *(nightly(n) for n in TEXT_MODELS if n != "bert")])
def test_texts(name):
    make, make_tokenizer = TEXT_MODELS[name]
    tokenizer = make_tokenizer()
    inputs = dict(tokenizer(TEXTS, padding=True, return_tensors="tf"))
    if name in ("distilbert", "roberta", "gpt2"):
        inputs.pop("token_type_ids", None)
    labels = inputs["input_ids"] if name == "gpt2" else tf.constant([0, 1, 2, 1])
    model, signatures = servable(tiny.seeded(*make(tokenizer)), inputs, labels, tokenizer)
    for text in TEXTS[:1] + TEXTS[2:]:  # One by one, as padding changes what GPT-2 computes in front of a text.
        encoded = {key: value for key, value in tokenizer(text, return_tensors="tf").items() if key in inputs}
        expected = model(encoded).logits.numpy()
        ids = {key: encoded[key] for key in ("input_ids", "attention_mask")}
        answers = {"ids": signatures["token_ids"](**ids), "text": signatures["text"](text=tf.constant([text]))}
        for answer in answers.values():
            np.testing.assert_allclose(answer["logits"], expected, atol=1e-4)
        if name != "gpt2":
            assert answers["text"]["label"].numpy()[0].decode() == f"LABEL_{expected.argmax()}"
            continue
        ours = signatures["generate_text"](text=tf.constant([text]))
        theirs = model.generate(**encoded, max_new_tokens=4, do_sample=False, pad_token_id=0)
        length = encoded["input_ids"].shape[1]
        np.testing.assert_array_equal(
            signatures["generate"](**ids)["output_ids"][:, : theirs.shape[1] - length], theirs[:, length:]
        )
        assert ours["text"].numpy()[0].decode() == tokenizer.decode(theirs[0, length:], skip_special_tokens=True)


@pytest.mark.nightly
def test_texts_to_texts():
    tokenizer = serving_texts.unigram("t5")
    config = transformers.T5Config(
        len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    inputs = dict(tokenizer(TEXTS, padding=True, return_tensors="tf", return_token_type_ids=False))
    model = tiny.seeded(transformers.TFT5ForConditionalGeneration, config)
    model, signatures = servable(model, {**inputs, "labels": inputs["input_ids"]}, inputs["input_ids"], tokenizer)
    decoder = inputs["input_ids"][:, :3]
    expected = model({**inputs, "decoder_input_ids": decoder}).logits
    answer = signatures["token_ids"](**inputs, decoder_input_ids=decoder)["logits"]
    np.testing.assert_allclose(answer, expected, atol=1e-4)
    theirs = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    for answers in (signatures["generate"](**inputs), signatures["serving_default"](text=tf.constant(TEXTS))):
        np.testing.assert_array_equal(answers["output_ids"][:, : theirs.shape[1]], theirs)
    written = [text.decode() for text in answers["text"].numpy()]
    assert written == tokenizer.batch_decode(theirs, skip_special_tokens=True)


@pytest.mark.nightly
def test_pictures():
    processor = transformers.ViTImageProcessor(size={"height": 8, "width": 8})
    pictures = [np.random.default_rng(n).integers(0, 256, (8 + n, 20, 3), dtype=np.uint8) for n in range(4)]
    inputs = dict(processor(images=pictures, return_tensors="tf"))
    model, signatures = servable(tiny.vit(), inputs, tf.constant([0, 1, 2, 1]), processor)
    files = tf.constant([tf.io.encode_png(picture).numpy() for picture in pictures])
    expected = model(inputs).logits.numpy()
    np.testing.assert_allclose(signatures["image_bytes"](image_bytes=files)["logits"], expected, atol=1e-4)
    np.testing.assert_allclose(signatures["pixel_values"](**inputs)["logits"], expected, atol=1e-4)
