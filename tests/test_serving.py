"""Exports for TensorFlow Serving: what they answer, and that they appear whole or not at all."""

from __future__ import annotations

import json
import logging
import threading

import numpy as np
import pytest
import serving_texts
import tensorflow as tf
import tf_keras
import tiny
import transformers

from tf_hfwb import export_for_serving
from tf_hfwb.cli import main
from tf_hfwb.errors import ExportError, NotACheckpointError, SettingError
from tf_hfwb.serving import check
from tf_hfwb.serving.versions import new_version, versions

TEXTS = ["the quick fox", "", "Le garçon 😀 a vu l'été"]


@pytest.fixture
def folder(tmp_path):
    """An empty directory of the test's own."""
    path = tmp_path / "folder"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def tokenizer():
    return serving_texts.wordpiece(lowercase=True)


@pytest.fixture(scope="module")
def bert(tokenizer):
    labels = {0: "bad", 1: "so-so", 2: "good"}
    return tiny.bert(vocab_size=len(tokenizer), id2label=labels, label2id={v: k for k, v in labels.items()})


@pytest.fixture(scope="module")
def exported(bert, tokenizer, tmp_path_factory):
    """A classifier of texts, exported from the directory that save_pretrained wrote."""
    directory = tmp_path_factory.mktemp("exported")
    bert.save_pretrained(directory / "model")
    tokenizer.save_pretrained(directory / "model")
    return export_for_serving(directory / "model", directory / "served" / "sentiment")


def test_texts_are_answered_as_the_python_model_does(exported, bert, tokenizer):
    assert exported.name == "1"
    loaded = tf.saved_model.load(str(exported))
    assert set(loaded.signatures) == {"serving_default", "text", "text_pairs", "token_ids", "token_ids_and_types"}
    assert (exported / "assets" / "labels.txt").read_text().splitlines() == ["bad", "so-so", "good"]
    answers = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
    batch = tokenizer(TEXTS, padding=True, return_tensors="tf")
    logits = bert(batch).logits.numpy()
    np.testing.assert_allclose(answers["logits"], logits, atol=1e-5)
    probabilities = tf.nn.softmax(logits).numpy()
    np.testing.assert_allclose(answers["probabilities"], probabilities, atol=1e-5)
    np.testing.assert_allclose(answers["score"], probabilities.max(axis=1), atol=1e-5)
    expected = [bert.config.id2label[index] for index in logits.argmax(axis=1)]
    assert [label.decode() for label in answers["label"].numpy()] == expected

    ids = loaded.signatures["token_ids"](**{k: tf.cast(batch[k], tf.int32) for k in ("input_ids", "attention_mask")})
    np.testing.assert_allclose(ids["logits"], logits, atol=1e-5)
    pairs = loaded.signatures["text_pairs"](text=tf.constant(TEXTS), text_pair=tf.constant(TEXTS[::-1]))
    batch = tokenizer(TEXTS, TEXTS[::-1], padding=True, return_tensors="tf")
    np.testing.assert_allclose(pairs["logits"], bert(batch).logits, atol=1e-5)
    assert loaded.signatures["text"](text=tf.constant([], tf.string))["label"].shape == (0,)


def test_operations_are_of_tensorflows_core(exported):
    from tensorflow.python.framework import op_def_registry
    from tensorflow.python.saved_model import loader_impl

    graph = loader_impl.parse_saved_model(str(exported)).meta_graphs[0].graph_def
    used = {node.op for function in graph.library.function for node in function.node_def}
    functions = {function.signature.name for function in graph.library.function}
    assert not [op for op in used - functions if op_def_registry.get(op) is None or "text" in op.lower()]


def test_weights_are_written_once(exported, bert):
    size = sum(file.stat().st_size for file in (exported / "variables").iterdir())
    assert size < 1.5 * 4 * bert.count_params() + 20_000


@pytest.mark.parametrize("kind", ["regression", "multi-label", "tokens", "gpt2", "t5", "vit"])
def test_each_task_has_outputs_of_its_own(kind, tmp_path):
    models = {
        "regression": lambda: tiny.bert(num_labels=1),
        "multi-label": lambda: tiny.bert(problem_type="multi_label_classification"),
        "tokens": tiny.distilbert,
        "gpt2": tiny.gpt2,
        "t5": tiny.t5,
        "vit": tiny.vit,
    }
    classes = {"label", "score", "probabilities", "logits"}
    names = {"regression": {"score", "logits"}, "gpt2": {"logits"}, "t5": {"logits"}}.get(kind, classes)
    loaded = tf.saved_model.load(str(export_for_serving(models[kind](), tmp_path)))
    signature = loaded.signatures["pixel_values" if kind == "vit" else "token_ids"]
    assert set(signature.structured_outputs) == names
    if kind == "multi-label":
        ids = tf.constant([[2, 5, 3]])
        answers = signature(input_ids=ids, attention_mask=tf.ones_like(ids))
        np.testing.assert_allclose(answers["probabilities"], tf.sigmoid(answers["logits"]), atol=1e-6)


def test_mixed_precision_is_exported_in_float32(tmp_path):
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = tiny.bert()
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    loaded = tf.saved_model.load(str(export_for_serving(model, tmp_path)))
    ids = tf.constant([[2, 5, 6, 3]])
    answers = loaded.signatures["token_ids"](input_ids=ids, attention_mask=tf.ones_like(ids))
    twin = tiny.bert()
    twin.set_weights(model.get_weights())
    np.testing.assert_allclose(answers["logits"], twin(ids).logits, atol=1e-6)
    assert np.abs(answers["logits"].numpy() - model(ids).logits.numpy()).max() > 1e-6  # Which was half as precise.


def test_an_unsupported_tokenizer_leaves_token_ids_and_says_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "tf_hfwb"):
        path = export_for_serving(tiny.bert(), tmp_path, processing_class=tiny.tokenizer())
    assert "text" not in tf.saved_model.load(str(path)).signatures
    assert "The tokenizer cannot be in the graph: it is of the kind WordPiece with Whitespace." in caplog.text


def test_a_graph_that_disagrees_with_the_tokenizer_is_published_only_by_name(bert, tmp_path, caplog):
    """Ids that the tokenizer's JSON does not tell of: a tokenizer that changes texts in Python before."""

    class Shouting(transformers.PreTrainedTokenizerFast):
        def __call__(self, *texts, **options):
            changed = ([text.replace("fox", "dog") for text in column] for column in texts)
            return super().__call__(*(changed if isinstance(texts[0], list) else texts), **options)

    plain = serving_texts.wordpiece(lowercase=True)
    tokenizer = Shouting(
        tokenizer_object=plain.backend_tokenizer,
        model_max_length=32,
        model_input_names=serving_texts.INPUTS,
        pad_token="[PAD]",
    )
    with pytest.raises(ExportError, match=r"not the tokenizer's for 3 of .*'the lazy fox'.*accept_tokenizer_differ"):
        export_for_serving(bert, tmp_path / "served", processing_class=tokenizer, sample_texts=["the lazy fox"])
    assert not (tmp_path / "served").exists()


def test_a_model_that_answers_otherwise_is_not_published(bert, folder, monkeypatch):
    monkeypatch.setattr(check, "TOLERANCE", -1.0)
    with pytest.raises(ExportError, match="differs from the Python model's"):
        export_for_serving(bert, folder / "a" / "served")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 0}, "version=0 .* a whole number from 1"),
        ({"version": 3}, r"version=3 .* not in .* there are 3"),
        ({"max_length": 64}, "max_length=64 .* at most 32"),
        ({"max_length": True}, "max_length=True"),
    ],
)
def test_bad_arguments_are_errors_before_the_work(options, message, bert, folder):
    (folder / "3").mkdir()
    with pytest.raises(SettingError, match=message):
        export_for_serving(bert, folder, **options)
    assert [path.name for path in folder.iterdir()] == ["3"]


def test_sources_without_a_model_are_errors_and_leave_nothing(folder):
    (folder / "source").mkdir()
    (folder / "source" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(NotACheckpointError):
        export_for_serving(folder / "source", folder / "served")
    assert [path.name for path in folder.iterdir()] == ["source"]


def test_versions_appear_whole_and_are_numbered(folder):
    seen: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for number in versions(folder):
                if not (folder / str(number) / "last").exists():
                    seen.append(str(number))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(50):
        with new_version(folder, None) as draft:
            (draft.path / "first").write_text("")
            (draft.path / "last").write_text("")
    ended.set()
    watcher.join()
    assert seen == []
    assert versions(folder) == list(range(1, 51))
    with pytest.raises(RuntimeError), new_version(folder, 70) as draft:
        raise RuntimeError
    with new_version(folder, 60) as draft:
        pass
    assert draft.published == folder / "60"
    assert sorted(path.name for path in folder.iterdir()) == sorted(map(str, [*range(1, 51), 60]))


@pytest.mark.slow
def test_the_command_exports_a_checkpoint(bert, tokenizer, folder, capsys):
    bert.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    command = ["export", str(folder / "model"), str(folder / "served"), "--version", "7", "--max_length", "16"]
    assert main([*command, "--text", "a text of mine"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(folder / "served" / "7")
    answers = tf.saved_model.load(str(folder / "served" / "7")).signatures["serving_default"](text=tf.constant(TEXTS))
    assert answers["label"].shape == [3]
    assert main(command) == 1
    assert "version=7" in capsys.readouterr().err
