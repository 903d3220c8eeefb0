"""``load_model`` and ``load_processing`` of sources that are damaged, incomplete or something else."""

from __future__ import annotations

import json
import pathlib
import shutil

import h5py
import keras
import pytest
import tiny
import transformers
from helpers import nightly
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tf_hfwb import from_pretrained, load_model
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.cli import main
from tf_hfwb.errors import CorruptCheckpointError, NotACheckpointError, UnsafeModelError, WeightsError
from tf_hfwb.models.pytorch_format import save_pytorch_format
from tf_hfwb.resume.load_processing import load_processing


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A model of transformers with its tokenizer, and a plain one; they are copied before they are damaged."""
    directory = tmp_path_factory.mktemp("sources")
    tiny.bert().save_pretrained(directory / "bert", safe_serialization=True)
    tiny.tokenizer().save_pretrained(directory / "bert")
    save_pytorch_format(tiny.bert(), directory / "bert-pt")
    tiny.bert().save_pretrained(directory / "bert-h5")
    (directory / "plain").mkdir()
    tiny.functional("keras").save(directory / "plain" / "model.keras")
    return directory


@pytest.fixture
def copy(sources):
    def of(name: str) -> pathlib.Path:
        return pathlib.Path(shutil.copytree(sources / name, "copy"))

    return of


def cut(path: pathlib.Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def drop(source: pathlib.Path, part: str) -> None:
    if (source / "tf_model.h5").exists():
        with h5py.File(source / "tf_model.h5", "a") as opened:
            del opened[part]
            names = [str(name, "ascii") if isinstance(name, bytes) else name for name in opened.attrs["layer_names"]]
            opened.attrs["layer_names"] = [name for name in names if name != part]
        return
    file = source / "model.safetensors"
    with safe_open(file, "numpy") as opened:
        metadata = opened.metadata()
    kept = {name: value for name, value in load_file(file).items() if part not in name}
    save_file(kept, file, metadata=metadata)


@pytest.mark.parametrize("kind", ["bert", nightly("bert-pt"), "bert-h5"])
def test_weights_that_are_missing_are_not_made_up(kind, copy, capsys):
    source = copy(kind)
    drop(source, "classifier")
    with pytest.raises(WeightsError, match=r"TFBertForSequenceClassification are not in .*: .*classifier"):
        load_model(source)
    for to in ("serving", "pytorch"):
        assert main(["export", str(source), "a/b", "--to", to]) == 1
        assert "would be random" in capsys.readouterr().err
    assert not pathlib.Path("a").exists()
    # Asked for by name, a new head is what is meant.
    assert from_pretrained(transformers.TFBertForSequenceClassification, source).config.num_labels == 3


def test_what_is_whole_is_loaded(sources):
    for kind in ("bert", "bert-pt", "bert-h5", "plain"):
        assert load_model(sources / kind).built
    _, info = load_model(sources / "bert", output_loading_info=True)
    assert info["missing_keys"] == []
    assert load_processing(sources / "bert").pad_token == "[PAD]"
    assert load_processing(sources / "plain") is None


def test_a_configuration_that_does_not_fit_the_weights(copy):
    source = copy("bert")
    config = json.loads((source / "config.json").read_text()) | {"hidden_size": 32}
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        WeightsError, match=r"do not fit .* is \(16,\) in TensorFlow's layout, the model's is \(32,\) in"
    ):
        load_model(source)


@pytest.mark.parametrize("content", ["[]", '{"model_type": "be', ""])
def test_a_damaged_configuration(content, copy):
    source = copy("bert")
    (source / "config.json").write_text(content)
    with pytest.raises(CorruptCheckpointError, match=r"config\.json is no configuration .* Save the model there again"):
        load_model(source)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_tokenizer(name, copy):
    source = copy("bert")
    cut(source / name)
    with pytest.raises(CorruptCheckpointError, match=rf"AutoTokenizer cannot read .*{name}.* Save them there again"):
        load_processing(source)


@pytest.mark.parametrize("damage", ["cut", "flipped", "another archive"])
def test_a_damaged_archive(damage, copy):
    file = copy("plain") / "model.keras"
    if damage == "cut":
        cut(file)
    elif damage == "flipped":
        content = bytearray(file.read_bytes())
        content[300:600] = (byte ^ 255 for byte in content[300:600])
        file.write_bytes(content)
    else:
        shutil.make_archive("other", "zip", ".", ".")
        shutil.move("other.zip", file)
    with pytest.raises(CorruptCheckpointError, match=r"model\.keras cannot be read: .* Save or copy the model again"):
        load_model(file.parent)


def test_a_class_that_keras_does_not_know(tmp_path):
    class Own(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    keras.Sequential([keras.Input((3,)), Own()]).save(tmp_path / "model.keras")
    with pytest.raises(UnsafeModelError, match=r"the class test_load_model\.Own, which .* custom_objects="):
        load_model(tmp_path)
    assert load_model(tmp_path, custom_objects={"Own": Own}).built


def test_a_source_without_a_model_is_told_what_it_is(tmp_path):
    with pytest.raises(NotACheckpointError, match=r"distilbert-base-uncased holds no model.* save_pretrained\(DIR"):
        load_model("distilbert-base-uncased")
    (tmp_path / "other").write_text("")
    with pytest.raises(NotACheckpointError, match=r"Files there: .*other"):
        load_model(tmp_path)
    store = Store("out")
    for step in (2, 10):
        with store.exclusive(), store.draft(f"checkpoint-{step}") as draft:
            draft.write_json("trainer_state.json", {"global_step": step})
            draft.commit()
    with pytest.raises(NotACheckpointError, match=r"name one of them\. The newest is out.checkpoint-10\."):
        load_model("out")
