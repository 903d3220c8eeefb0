"""Models of transformers whatever their head: without one, with a loss without labels, and classes of the user's."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras
import tiny
import transformers
from helpers import nightly
from transformers.modeling_tf_outputs import TFSequenceClassifierOutput

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbModelCheckpoint, from_pretrained, restore
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import host_of, is_model_class, is_of_transformers

random = np.random.default_rng(0)
IDS = {"input_ids": random.integers(1, 20, (8, 6)), "attention_mask": np.ones((8, 6), "int64")}
TEXT = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


class OwnClassifier(transformers.TFBertPreTrainedModel):
    """As users write it: a loss that Keras is compiled with, and a call without return_dict."""

    def __init__(self, config, *inputs, **kwargs):
        super().__init__(config, *inputs, **kwargs)
        self.bert = transformers.TFBertMainLayer(config, name="bert")
        self.classifier = tf_keras.layers.Dense(config.num_labels, name="classifier")

    def call(self, input_ids, attention_mask=None, training=False):
        hidden = self.bert(input_ids, attention_mask=attention_mask, training=training)
        return TFSequenceClassifierOutput(logits=self.classifier(hidden.pooler_output))

    def build(self, input_shape=None):
        if self.built:
            return
        self.built = True
        self.bert.build(None)
        self.classifier.build([None, None, self.config.hidden_size])


def base():
    model = tiny.seeded(transformers.TFBertModel, transformers.BertConfig(**TEXT))
    model.compile("adam", loss="mse")
    return model, IDS, random.normal(size=(8, 6, 8)).astype("float32")


def contrastive():
    text = {**TEXT, "max_position_embeddings": 16}
    vision = {**TEXT, "image_size": 8, "patch_size": 4}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    model = tiny.seeded(transformers.TFCLIPModel, config)
    model.compile("adam")
    return model, {**IDS, "pixel_values": random.normal(size=(8, 3, 8, 8)).astype("float32")}, None


def own():
    model = tiny.seeded(OwnClassifier, transformers.BertConfig(**TEXT, num_labels=3))
    model.compile("adam", loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, IDS, random.integers(0, 3, 8)


@pytest.mark.parametrize("make", [nightly(base), contrastive, own])
def test_a_checkpoint_is_what_from_pretrained_opens_and_training_continues(make, tmp_path):
    model, inputs, labels = make()
    model.fit(inputs, labels, batch_size=4, verbose=0, callbacks=[WandbModelCheckpoint("out")])
    checkpoint = tmp_path / "work" / "out" / "checkpoint-2"
    assert {"config.json", "model.safetensors"} <= {path.name for path in checkpoint.iterdir()}
    loaded = from_pretrained(type(model), checkpoint)
    assert len(loaded.weights) == len(model.weights)
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    again, _, _ = make()
    assert restore(again, checkpoint).step == 2
    for ours, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_model_that_computes_no_loss_is_told_to_be_compiled_with_one():
    electra = transformers.ElectraConfig(**TEXT, embedding_size=8)
    for model in (
        transformers.TFBertModel(transformers.BertConfig(**TEXT)),
        transformers.TFElectraForPreTraining(electra),
    ):
        with pytest.raises(SettingError, match=r"has no loss of its own. Call model.compile\(loss=\.\.\."):
            TFTrainer(model, TFTrainingArguments(report_to="none"))


def test_a_loss_without_labels_trains_in_the_trainer():
    model, inputs, _ = contrastive()
    args = TFTrainingArguments(max_steps=2, per_device_train_batch_size=4, save_strategy="no", report_to="none")
    result = TFTrainer(model, args, train_dataset=inputs, eval_dataset=inputs).train()
    assert result.global_step == 2
    assert np.isfinite(result.training_loss)


@pytest.mark.nightly
def test_every_class_is_of_transformers_and_those_with_labels_compute_a_loss():
    names = [name for name in dir(transformers) if name.startswith("TF")]
    classes = [one for name in names if isinstance(one := getattr(transformers, name), type)]
    classes = [one for one in classes if issubclass(one, transformers.TFPreTrainedModel)]
    assert len(classes) > 250
    for one in classes:
        model = one.__new__(one)
        assert is_of_transformers(model)
        assert is_model_class(one) == (one is not transformers.TFPreTrainedModel)
        if hasattr(one, "hf_compute_loss"):
            assert host_of(model).computes_loss, one
    assert host_of(transformers.TFCLIPModel.__new__(transformers.TFCLIPModel)).computes_loss
    for one in (transformers.TFBertModel, transformers.TFSamModel, transformers.TFElectraForPreTraining):
        assert not host_of(one.__new__(one)).computes_loss
