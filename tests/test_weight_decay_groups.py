"""Which weights decay: by the names and layers of PyTorch's models, and in plain ones."""

from __future__ import annotations

import importlib
import json

import pytest
import tiny
import transformers
from helpers import KERASES, nightly
from pytorch_training import run_pytorch

from tf_hfwb.keras_compat import host_of
from tf_hfwb.models.pytorch_format import pytorch_tensors
from tf_hfwb.trainer.optimization.weight_decay_groups import decaying

TEXT = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
TEXT |= {"max_position_embeddings": 16}
SEQUENCES = {"vocab_size": 20, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
SEQUENCES |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 16}
PICTURES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
PICTURES |= {"image_size": 8, "patch_size": 4}
SOUNDS = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
SOUNDS |= {"conv_dim": (8, 8), "conv_kernel": (3, 3), "conv_stride": (2, 2), "num_conv_pos_embeddings": 4}
SOUNDS |= {"num_conv_pos_embedding_groups": 2, "vocab_size": 12}
ARCHITECTURES = {
    "BertForSequenceClassification": TEXT,
    "DistilBertForSequenceClassification": {"vocab_size": 20, "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8},
    "GPT2LMHeadModel": {"vocab_size": 20, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16},
    "MistralForCausalLM": {**TEXT, "num_key_value_heads": 2},
    "T5ForConditionalGeneration": {
        "vocab_size": 20,
        "d_model": 8,
        "d_kv": 4,
        "d_ff": 8,
        "num_layers": 1,
        "num_heads": 2,
    },
    "ResNetForImageClassification": {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1]},
    "RobertaForMaskedLM": TEXT,
    "ElectraForSequenceClassification": {**TEXT, "embedding_size": 8},
    "AlbertForSequenceClassification": {**TEXT, "embedding_size": 8},
    "DebertaV2ForSequenceClassification": TEXT,
    "MobileBertForSequenceClassification": {**TEXT, "embedding_size": 8, "intra_bottleneck_size": 8},
    "FunnelForSequenceClassification": {
        "vocab_size": 20,
        "block_sizes": [1, 1],
        "d_model": 8,
        "n_head": 2,
        "d_head": 4,
    },
    "XLNetForSequenceClassification": {"vocab_size": 20, "d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 8},
    "OPTForCausalLM": {**TEXT, "ffn_dim": 8, "word_embed_proj_dim": 8},
    "GPTJForCausalLM": {"vocab_size": 20, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16, "rotary_dim": 4},
    "BartForConditionalGeneration": SEQUENCES,
    "MarianMTModel": {**SEQUENCES, "pad_token_id": 1},
    "PegasusForConditionalGeneration": SEQUENCES,
    "MPNetForSequenceClassification": TEXT,
    "ConvBertForSequenceClassification": {**TEXT, "embedding_size": 8, "head_ratio": 1},
    "EsmForSequenceClassification": {**TEXT, "pad_token_id": 1, "mask_token_id": 2},
    "ViTForImageClassification": PICTURES,
    "DeiTForImageClassification": PICTURES,
    "SwinForImageClassification": {
        "image_size": 16,
        "patch_size": 2,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [2, 2],
        "window_size": 2,
    },
    "ConvNextForImageClassification": {"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2},
    "MobileViTForImageClassification": {},
    "WhisperForConditionalGeneration": {
        **SEQUENCES,
        "num_mel_bins": 8,
        "max_source_positions": 8,
        "max_target_positions": 8,
        "pad_token_id": 1,
    },
    "Wav2Vec2ForCTC": SOUNDS,
}
COMMON = ("BertForSequenceClassification",)


def config_of(name: str):
    config_class = getattr(transformers, f"TF{name}").config_class
    return config_class(**ARCHITECTURES[name])


def exempt_weights(model) -> set[str]:
    """The weights that do not decay, by PyTorch's names."""
    names, variables = list(pytorch_tensors(model)), model.trainable_weights
    flags = decaying(host_of(model), variables)
    return {name for name, decays in zip(names, flags, strict=False) if not decays}


IN_PYTORCH = """
import json, sys
import transformers
name, directory = sys.argv[1:]
from transformers import Trainer
model = getattr(transformers, name)(transformers.AutoConfig.from_pretrained(directory))
decaying = set(Trainer.get_decay_parameter_names(None, model))
print(json.dumps([[name for name, _ in model.named_parameters()], sorted(decaying)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name if name in COMMON else nightly(name) for name in ARCHITECTURES])
def test_the_same_weights_decay_as_in_pytorch(name, tmp_path):
    config = config_of(name)
    config.save_pretrained(tmp_path)
    names, decaying = map(set, json.loads(run_pytorch(IN_PYTORCH, name, tmp_path).splitlines()[-1]))
    model = tiny.seeded(getattr(transformers, f"TF{name}"), config)
    known = set(pytorch_tensors(model)) & names
    assert len(known) > 0.3 * len(names)  # transformers 5 calls parts of ViT, DeiT and Swin otherwise.
    assert exempt_weights(model) & known == (names - decaying) & known


@pytest.mark.parametrize(
    ("name", "exempt"),
    [
        (
            "MistralForCausalLM",
            {
                "model.layers.0.input_layernorm.weight",
                "model.layers.0.post_attention_layernorm.weight",
                "model.norm.weight",
            },
        ),
        (
            "T5ForConditionalGeneration",
            {
                "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                "decoder.block.0.layer.0.layer_norm.weight",
                "decoder.block.0.layer.1.layer_norm.weight",
                "decoder.block.0.layer.2.layer_norm.weight",
                "decoder.final_layer_norm.weight",
                "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                "encoder.block.0.layer.0.layer_norm.weight",
                "encoder.block.0.layer.1.layer_norm.weight",
                "encoder.final_layer_norm.weight",
            },
        ),
    ],
)
def test_what_does_not_decay_in_pytorch(name, exempt):
    assert exempt_weights(tiny.seeded(getattr(transformers, f"TF{name}"), config_of(name))) == exempt


@pytest.mark.parametrize("package", KERASES)
def test_in_a_plain_model_biases_and_normalisation_do_not_decay(package):
    """By the kind of the layer, whatever it is called; a name decides only where Keras does not know the kind."""
    keras = importlib.import_module(package)
    layers = keras.layers

    class Scale(layers.Layer):
        def build(self, shape):
            self.own = self.add_weight(shape=(shape[-1],), name="gamma")

        def call(self, inputs):
            return inputs * self.own

    model = keras.Sequential(
        [
            layers.Input((4, 8)),
            layers.Dense(4, name="alphabet"),
            layers.LayerNormalization(name="b"),
            layers.BatchNormalization(name="c"),
            layers.GroupNormalization(2, name="d"),
            Scale(name="e"),
            layers.GRU(3, name="normal"),
        ]
    )
    variables = model.trainable_variables
    flags = decaying(host_of(model), variables)
    shown = [getattr(variable, "path", variable.name).partition(":")[0] for variable in variables]
    decayed = {name for name, decays in zip(shown, flags, strict=True) if decays}
    assert {name.rpartition("/")[2] for name in decayed} == {"kernel", "recurrent_kernel"}
    assert len(decayed) == 3
