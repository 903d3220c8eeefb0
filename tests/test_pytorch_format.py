"""TF models in PyTorch's format: back through our own loader, and in PyTorch itself where it is at hand."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import keras
import numpy as np
import pytest
import tf_keras
import tiny
import transformers
from helpers import finish, nightly
from safetensors import safe_open

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbModelCheckpoint, from_pretrained
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.cli import main
from tf_hfwb.errors import SettingError
from tf_hfwb.models.pytorch_format import pytorch_tensors, save_pytorch_format

TEXT = {"vocab_size": 40, "max_position_embeddings": 20, "hidden_size": 16, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 2, "intermediate_size": 24}
DISTIL = {"vocab_size": 40, "max_position_embeddings": 20, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
GPT2 = {"vocab_size": 40, "n_positions": 20, "n_embd": 16, "n_layer": 2, "n_head": 2}
T5 = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
VIT = {"image_size": 8, "patch_size": 4, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
VIT |= {"intermediate_size": 24}
HEADS = ("Model", "ForSequenceClassification", "ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering")
MODELS = [
    *((f"TFBert{head}", "BertConfig", TEXT) for head in (*HEADS, "ForMultipleChoice")),
    *((f"TFDistilBert{head}", "DistilBertConfig", DISTIL) for head in HEADS),
    *((f"TFRoberta{head}", "RobertaConfig", TEXT) for head in HEADS),
    *((f"TFGPT2{head}", "GPT2Config", {**GPT2, "pad_token_id": 0}) for head in ("Model", "LMHeadModel", HEADS[1])),
    *((f"TFT5{head}", "T5Config", T5) for head in ("Model", "EncoderModel", "ForConditionalGeneration")),
    (
        "TFT5ForConditionalGeneration",
        "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    *((f"TFViT{head}", "ViTConfig", VIT) for head in ("Model", "ForImageClassification")),
    ("TFResNetForImageClassification", "ResNetConfig", {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1]}),
    # PyTorch would compute in this dtype, of which TensorFlow takes no notice.
    ("TFBertForSequenceClassification", "BertConfig", {**TEXT, "dtype": "float16"}),
]
IDS = [[5, 6, 7, 8, 0], [9, 10, 11, 12, 13]]
MASK = [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


def inputs_of(name: str) -> dict[str, np.ndarray]:
    if "ViT" in name or "ResNet" in name:
        return {"pixel_values": np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("float32")}
    inputs = {"input_ids": np.array(IDS), "attention_mask": np.array(MASK)}
    if "MultipleChoice" in name:
        return {key: np.stack([value, value[:, ::-1]], axis=1) for key, value in inputs.items()}
    if "T5" in name and "Encoder" not in name:
        inputs["decoder_input_ids"] = np.array([[0, 4], [0, 5]])
    return inputs


def random_model(name: str, config: str, options: dict):
    """All weights are random: none can be right by its initial value."""
    model = getattr(transformers, name)(getattr(transformers, config)(**options))
    model.build_in_name_scope()
    random = np.random.default_rng(0)
    for weight in model.weights:
        values = random.normal(0.0, 0.2, weight.shape)
        weight.assign(np.abs(values) if "variance" in weight.name else values)
    return model


def output_of(model, name: str) -> np.ndarray:
    outputs = model(inputs_of(name), training=False)
    for key in ("logits", "start_logits", "last_hidden_state"):
        if key in outputs:
            return outputs[key].numpy()
    raise AssertionError(list(outputs))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Each model in PyTorch's format, with what it gives."""
    made = []
    for number, (name, config, options) in enumerate(MODELS):
        model = random_model(name, config, options)
        directory = tmp_path_factory.mktemp(f"{number}-{name}")
        save_pytorch_format(model, directory)
        np.savez(directory / "expected.npz", output=output_of(model, name), **inputs_of(name))
        made.append((name, directory))
    return made


@pytest.mark.nightly
@pytest.mark.slow
def test_there_and_back_gives_the_same(written):
    for name, directory in written:
        if name in ("TFT5EncoderModel",):
            continue
        loaded = from_pretrained(getattr(transformers, name), directory)
        expected = np.load(directory / "expected.npz")["output"]
        np.testing.assert_allclose(output_of(loaded, name), expected, rtol=1e-5, atol=1e-5, err_msg=name)
        config = json.loads((directory / "config.json").read_text())
        assert config["architectures"] == [name.removeprefix("TF")]
        with safe_open(directory / "model.safetensors", "numpy") as file:
            assert file.metadata() == {"format": "pt"}
        assert not [path for path in directory.iterdir() if path.name.startswith(".")]


IN_PYTORCH = """
import json, sys
import numpy as np, torch, transformers
for name, directory in json.loads(sys.argv[1]):
    model, info = getattr(transformers, name.removeprefix("TF")).from_pretrained(directory, output_loading_info=True)
    left = {kind: sorted(info[kind]) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[kind]}
    arrays = dict(np.load(directory + "/expected.npz"))
    expected = arrays.pop("output")
    with torch.no_grad():
        outputs = model.eval()(**{key: torch.tensor(value) for key, value in arrays.items()})
    found = next(outputs[key] for key in ("logits", "start_logits", "last_hidden_state") if key in outputs)
    print(json.dumps([name, left, float(np.abs(found.numpy() - expected).max()), float(np.abs(expected).max())]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, nightly(None)])
def test_pytorch_gives_the_same(written, number):
    """In the environment of transformers 5 and PyTorch whose Python ``TF_HFWB_TORCH_PYTHON`` names."""
    interpreter = os.environ.get("TF_HFWB_TORCH_PYTHON")
    if not interpreter:
        pytest.skip("TF_HFWB_TORCH_PYTHON names no Python with PyTorch and transformers 5")
    some = written[:number]
    wanted = json.dumps([(name, str(directory)) for name, directory in some])
    ended = subprocess.run([interpreter, "-c", IN_PYTORCH, wanted], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    results = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("[")]
    assert [name for name, *_ in results] == [name for name, _ in some]
    for name, left, difference, largest in results:
        # TensorFlow does not count the batches of batch normalisation, and PyTorch's outputs do not need it.
        left["missing_keys"] = [key for key in left.get("missing_keys", []) if "num_batches_tracked" not in key]
        assert not any(left.values()), (name, left)
        assert difference <= 1e-5 * max(1.0, largest), name


def test_the_trainer_and_the_command_write_it(tmp_path, capsys):
    model, tokenizer = tiny.bert(), tiny.tokenizer()
    args = TFTrainingArguments("out", report_to="none", disable_tqdm=True)
    trainer = TFTrainer(model, args, processing_class=tokenizer)
    trainer.save_model("tf")
    assert trainer.save_model("pt", weights_format="pt") == pathlib.Path("pt")
    assert main(["export", "tf", "exported", "--to", "pytorch"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "exported"
    for directory in ("pt", "exported"):
        loaded = from_pretrained(transformers.TFAutoModelForSequenceClassification, directory)
        for mine, its in zip(model.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, its)
        again = transformers.AutoTokenizer.from_pretrained(directory)
        assert again("the cat")["input_ids"] == tokenizer("the cat")["input_ids"]
    with pytest.raises(SettingError, match="weights_format='onnx'"):
        trainer.save_model("x", weights_format="onnx")


@pytest.mark.parametrize("name", ["TFBertModel", "TFBertForSequenceClassification", "TFT5ForConditionalGeneration"])
def test_a_model_that_another_called_first_has_the_same_names(name):
    class Outer(tf_keras.Model):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def call(self, inputs):
            return self.inner(inputs)[0]

    config, options = next((config, options) for known, config, options in MODELS if known == name)
    inner = getattr(transformers, name)(getattr(transformers, config)(**options))
    Outer(inner)(inputs_of(name))
    assert set(pytorch_tensors(inner)) == set(pytorch_tensors(random_model(name, config, options)))


class Own(transformers.TFBertForSequenceClassification):
    pass


def test_what_pytorch_has_not_is_refused_and_nothing_is_written():
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    plain.compile(loss="mse")
    own = Own(transformers.BertConfig(**TEXT))
    unbuilt = transformers.TFBertForSequenceClassification(transformers.BertConfig(**TEXT))
    for model, message in (
        (plain, "model='Sequential'"),
        (own, "model='Own'"),
        (tiny.bert().bert, "model='TFBertMainLayer'"),
        (unbuilt, "a model that is built"),
    ):
        with pytest.raises(SettingError, match=message):
            save_pytorch_format(model, "nowhere")
    trainer = TFTrainer(plain, TFTrainingArguments("out", report_to="none", disable_tqdm=True))
    with pytest.raises(SettingError, match="model='Sequential'"):
        trainer.save_model("nowhere", weights_format="pt")
    assert not pathlib.Path("nowhere").exists()


def test_options_of_generate_are_written_as_they_are():
    model = tiny.gpt2()
    model.generation_config.temperature = 0.7  # Without do_sample, transformers refuses to write it.
    save_pytorch_format(model, "a/b")
    assert json.loads(pathlib.Path("a/b/generation_config.json").read_text())["temperature"] == 0.7


class FullDisk:
    """A tokenizer that cannot be written."""

    def save_pretrained(self, directory):
        raise OSError("No space left on device")


def test_an_error_leaves_what_was_there():
    model = tiny.bert()
    for directory in ("new", "a/b/new"):
        with pytest.raises(OSError, match="No space"):
            save_pytorch_format(model, directory, processing_class=FullDisk())
    assert not list(pathlib.Path().iterdir())
    tiny.gpt2().save_pretrained("old", safe_serialization=True)
    before = {path.name: path.read_bytes() for path in pathlib.Path("old").iterdir()}
    with pytest.raises(OSError, match="No space"):
        save_pytorch_format(model, "old", processing_class=FullDisk())
    assert {path.name: path.read_bytes() for path in pathlib.Path("old").iterdir()} == before
    pathlib.Path("file").write_text("text")
    with pytest.raises(SettingError, match="directory='file'"):
        save_pytorch_format(model, "file")


@pytest.mark.slow
def test_an_artifact_becomes_pytorchs_and_a_checkpoint_is_not_written_over(capsys):
    model, tokenizer = tiny.bert(), tiny.tokenizer()
    model.compile("adam")
    encoded = dict(tokenizer(tiny.TEXTS[:8], padding=True, return_tensors="np"))
    callback = WandbModelCheckpoint("out", log_model="end", artifact_name="mine", processing_class=tokenizer)
    model.fit(encoded, np.arange(8) % 3, batch_size=4, callbacks=[callback], verbose=0)
    finish()
    assert main(["export", "model-mine:final", "exported", "--to", "pytorch"]) == 0
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in os.scandir("exported")}
    loaded = from_pretrained(transformers.TFAutoModelForSequenceClassification, "exported")
    np.testing.assert_array_equal(loaded(encoded)["logits"], model(encoded)["logits"])

    (checkpoint,) = Store("out").checkpoints()
    assert main(["export", str(checkpoint.path), str(checkpoint.path), "--to", "pytorch"]) == 1
    assert "nor a checkpoint" in capsys.readouterr().err
    checkpoint.verify()


def test_the_command_names_a_source_that_is_none(capsys):
    assert main(["export", "nothing", "exported", "--to", "pytorch"]) == 1
    assert "error: " in capsys.readouterr().err
    assert not pathlib.Path("exported").exists()
