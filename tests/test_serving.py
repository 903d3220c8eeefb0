"""Exports for TensorFlow Serving: what they answer, and that they appear whole or not at all."""

from __future__ import annotations

import ast
import importlib
import io
import json
import logging
import os
import pathlib
import sys
import threading

import numpy as np
import PIL.Image
import pytest
import serving_texts
import tensorflow as tf
import tf_keras
import tiny
import tokenizers
import transformers
from helpers import nightly, python

from tf_hfwb import export_for_serving
from tf_hfwb.cli import main
from tf_hfwb.errors import ExportError, NotACheckpointError, SettingError
from tf_hfwb.evaluation.text_generation import Generator
from tf_hfwb.serving import export_check
from tf_hfwb.serving.detokenizer import Detokenizer, can_detokenize
from tf_hfwb.serving.generation_signature import GraphGenerator
from tf_hfwb.serving.served_outputs import Outputs
from tf_hfwb.serving.tokenizers.texts_in_graph import TextsInGraph
from tf_hfwb.serving.transformers_servable import Servable
from tf_hfwb.serving.version_folders import new_version, versions

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

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


@pytest.mark.nightly
@pytest.mark.parametrize(
    "kind", ["regression", "answers", *map(nightly, ["multi-label", "tokens", "choices", "gpt2", "t5", "vit"])]
)
def test_each_task_has_outputs_of_its_own(kind, tmp_path):
    models = {
        "regression": lambda: tiny.bert(num_labels=1),
        "multi-label": lambda: tiny.bert(problem_type="multi_label_classification"),
        "tokens": tiny.distilbert,
        "answers": lambda: tiny.of_bert(transformers.TFBertForQuestionAnswering),
        "choices": lambda: tiny.of_bert(transformers.TFBertForMultipleChoice),
        "gpt2": tiny.gpt2,
        "t5": tiny.t5,
        "vit": tiny.vit,
    }
    classes = {"label", "score", "probabilities", "logits"}
    others = {"gpt2": {"logits"}, "t5": {"logits"}, "choices": {"logits"}, "answers": {"start_logits", "end_logits"}}
    names = {"regression": {"score", "logits"}, **others}.get(kind, classes)
    loaded = tf.saved_model.load(str(export_for_serving(models[kind](), tmp_path, max_new_tokens=0)))
    signature = loaded.signatures["pixel_values" if kind == "vit" else "token_ids"]
    assert set(signature.structured_outputs) == names
    if kind == "multi-label":
        ids = tf.constant([[2, 5, 3]])
        answers = signature(input_ids=ids, attention_mask=tf.ones_like(ids))
        np.testing.assert_allclose(answers["probabilities"], tf.sigmoid(answers["logits"]), atol=1e-6)


def test_pictures_are_answered_as_the_python_model_does(tmp_path):
    pytest.importorskip("tensorflow_serving")
    import serving_client
    from predict_server import predict_server

    model, processor = tiny.vit(), transformers.ViTImageProcessor(size={"height": 8, "width": 8})
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    path = export_for_serving(tmp_path / "model", tmp_path / "served")
    pictures = [np.random.default_rng(i).integers(0, 256, (8 + i, 20, 3), dtype=np.uint8) for i in range(3)]
    expected = model(processor(images=pictures, return_tensors="tf")["pixel_values"]).logits.numpy()
    files = [tf.io.encode_png(picture).numpy() for picture in pictures]
    black = io.BytesIO()
    PIL.Image.new("RGB", (9, 8)).save(black, "BMP")
    assert black.getvalue().endswith(b"\0")
    pixels = {"pixel_values": np.ones((1, 3, 8, 8), np.float32).tolist()}
    with predict_server(path, "vit") as (rest, grpc):
        for ask, address in ((serving_client.ask_by_rest, rest), (serving_client.ask_by_grpc, grpc)):
            for signature in ("serving_default", "image_bytes"):
                answers = ask(address, "vit", signature, {"image_bytes": files})
                np.testing.assert_allclose(answers["logits"], expected, atol=1e-5)
            assert len(ask(address, "vit", "image_bytes", {"image_bytes": [black.getvalue()]})["label"]) == 1
            assert ask(address, "vit", "image_bytes", {"image_bytes": []})["label"] == []
            assert len(ask(address, "vit", "pixel_values", pixels)["label"]) == 1


@pytest.mark.nightly
def test_a_classifier_made_of_a_decoder_answers_a_text_as_if_it_were_alone(tmp_path, caplog):
    tokenizer = serving_texts.byte_level("gpt2", padding_side="left")  # And without a token for padding.
    sizes = {"n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2, "initializer_range": 0.5}
    config = transformers.GPT2Config(vocab_size=len(tokenizer), **sizes)
    model = tiny.seeded(transformers.TFGPT2ForSequenceClassification, config)
    with pytest.raises(
        SettingError, match=r"pad_token_id=None .* by which TFGPT2ForSeq.* Set model\.config\.pad_token"
    ):
        export_for_serving(model, tmp_path, processing_class=tokenizer)
    model.config.pad_token_id = 7
    with caplog.at_level(logging.WARNING, "tf_hfwb"):
        path = export_for_serving(model, tmp_path, processing_class=tokenizer)
    assert "depends on the texts beside it" not in caplog.text
    answers = tf.saved_model.load(str(path)).signatures["text"](text=tf.constant(["a dog", "the quick brown fox"]))
    alone = model(tokenizer("a dog", return_tensors="tf")).logits
    np.testing.assert_allclose(answers["logits"][:1], alone, atol=1e-5)


def test_a_model_whose_answers_depend_on_the_batch_is_told_of(tokenizer, caplog):
    class Greedy(transformers.TFBertForSequenceClassification):
        """It takes notice of padding."""

        def call(self, input_ids=None, attention_mask=None, token_type_ids=None, **options):
            return super().call({**input_ids, "attention_mask": tf.ones_like(input_ids["input_ids"])}, **options)

    config = transformers.BertConfig(vocab_size=len(tokenizer), initializer_range=0.5, **tiny.TEXT)
    model = tiny.seeded(Greedy, config)
    with caplog.at_level(logging.WARNING, "tf_hfwb"):
        Servable(model, TextsInGraph(tokenizer, 32), tokenizer)
    assert "What Greedy answers to a text depends on the texts beside it" in caplog.text


def test_all_tensors_that_a_model_computes_are_answers():
    served = Servable(tiny.of_bert(transformers.TFBertForPreTraining), None, None)
    assert set(served.signatures["token_ids"].structured_outputs) == {"prediction_logits", "seq_relationship_logits"}
    with pytest.raises(ExportError, match="answers with nothing: its outputs are hidden_states"):
        Outputs(tiny.bert())({"hidden_states": ()})


def test_labels_with_gaps_have_names():
    config = {"id2label": {0: "good", 5: "bad"}, "label2id": {"good": 0, "bad": 5}}
    assert Outputs(tiny.bert(num_labels=2, **config)).labels == ["good", "LABEL_1"]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("make", "options", "argument", "lengths"),
    [
        nightly(tiny.gpt2, {}, None, (20, 12)),
        (tiny.gpt2, {}, 4, (4, 28)),
        nightly(tiny.gpt2, {"max_new_tokens": 500}, None, (16, 16)),  # More than there are positions.
        nightly(tiny.gpt2, {"max_length": 9}, None, (None, 31)),  # With the prompt.
        (tiny.t5, {"max_length": 9}, None, (None, None)),
    ],
)
def test_how_far_generating_goes(make, options, argument, lengths):
    model = make()
    model.generation_config.update(**options)
    generator = GraphGenerator(model, argument)
    assert (generator._new, generator.longest_prompt) == lengths
    ids = tf.ones([2, 3], tf.int32)
    expected = Generator(model, max_new_tokens=argument)({"input_ids": ids, "attention_mask": ids})
    if options.get("max_new_tokens") is None:
        for spec in (tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([2, 3], tf.int32)):
            made = tf.function(generator, input_signature=[spec, spec])(ids, ids)
            np.testing.assert_array_equal(made, expected[:, : generator._new])


def test_a_small_model_generates_less_than_usual():
    config = transformers.GPT2Config(vocab_size=30, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    generator = GraphGenerator(tiny.seeded(transformers.TFGPT2LMHeadModel, config), None)
    assert (generator._new, generator.longest_prompt) == (8, 8)


@pytest.mark.nightly
@pytest.mark.slow
def test_what_batches_of_any_size_cannot_do_is_done_row_by_row():
    model = tiny.gpt2()
    model.generation_config.update(repetition_penalty=1.7, forced_eos_token_id=3)
    model.generation_config.num_return_sequences = 2
    served = Servable(model, None, None, 4)
    ids = tf.constant([[5, 6, 7], [0, 8, 9]])
    mask = tf.constant([[1, 1, 1], [0, 1, 1]])
    answers = served.signatures["generate"](input_ids=ids, attention_mask=mask)["output_ids"]
    model.generation_config.num_return_sequences = 1
    expected = model.generate(ids, attention_mask=mask, max_new_tokens=4, pad_token_id=0)[:, 3:]
    np.testing.assert_array_equal(answers, expected)
    for rows, width in ((2, 0), (0, 3)):
        nothing = tf.zeros([rows, width], tf.int32)
        assert served.signatures["generate"](input_ids=nothing, attention_mask=nothing)["output_ids"].shape[0] == rows


def test_what_cannot_be_in_the_graph_is_left_out_and_told(caplog):
    model = tiny.gpt2()
    model.generation_config.update(no_repeat_ngram_size=2)
    with caplog.at_level(logging.WARNING, "tf_hfwb"):
        served = Servable(model, None, None, 4)
    assert set(served.signatures) == {"token_ids", "serving_default"}
    assert "generate() of TFGPT2LMHeadModel cannot be in the graph" in caplog.text
    assert "no_repeat_ngram_size=2" in caplog.text


@pytest.mark.nightly
@pytest.mark.slow
def test_a_causal_model_generates_from_ids_and_texts(tmp_path):
    tokenizer = serving_texts.byte_level("gpt2")
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=1, n_head=2)
    model = tiny.seeded(transformers.TFGPT2LMHeadModel, config)
    loaded = tf.saved_model.load(str(export_for_serving(model, tmp_path, processing_class=tokenizer, max_new_tokens=4)))
    prompts = ["the quick", "a much longer prompt"]
    answers = loaded.signatures["generate_text"](text=tf.constant(prompts))
    for prompt, ids, text in zip(prompts, answers["output_ids"].numpy(), answers["text"].numpy(), strict=True):
        encoded = tokenizer(prompt, return_tensors="tf")
        expected = model.generate(**encoded, max_new_tokens=4, do_sample=False, pad_token_id=0)[0]
        assert ids.tolist() == expected[encoded["input_ids"].shape[1] :].numpy().tolist()
        assert text.decode() == tokenizer.decode(ids)
    prompt = " ".join(f"word {number}" for number in range(40))
    tail = tf.constant([tokenizer(prompt)["input_ids"][-28:]])  # Of too long a prompt the beginning is dropped.
    expected = model.generate(tail, attention_mask=tf.ones_like(tail), max_new_tokens=4, pad_token_id=0)[:, 28:]
    answers = loaded.signatures["generate_text"](text=tf.constant([prompt]))
    np.testing.assert_array_equal(answers["output_ids"], expected)
    with pytest.raises(SettingError, match=r"max_new_tokens=32 .* less than 32"):
        export_for_serving(model, tmp_path, max_new_tokens=32)


@pytest.mark.nightly
def test_an_encoder_decoder_generates(tmp_path):
    model = tiny.t5()
    loaded = tf.saved_model.load(str(export_for_serving(model, tmp_path, max_new_tokens=4)))
    ids = tf.constant([[5, 6, 7, 1], [8, 1, 0, 0]])
    mask = tf.cast(ids > 0, tf.int32)
    answers = loaded.signatures["generate"](input_ids=ids, attention_mask=mask)["output_ids"]
    expected = model.generate(ids, attention_mask=mask, max_new_tokens=4, do_sample=False)
    np.testing.assert_array_equal(answers, expected)


@pytest.mark.nightly
@pytest.mark.slow
def test_an_encoder_decoder_generates_from_texts(tmp_path):
    tokenizer = serving_texts.unigram("t5")
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    config = transformers.T5Config(vocab_size=len(tokenizer) + 9, decoder_start_token_id=0, pad_token_id=0, **sizes)
    model = tiny.seeded(transformers.TFT5ForConditionalGeneration, config)
    loaded = tf.saved_model.load(str(export_for_serving(model, tmp_path, processing_class=tokenizer, max_new_tokens=8)))
    prompts = ["translate: <extra_id_0> the quick fox", "a dog", "Le garçon 😀", ""]
    answers = loaded.signatures["generate_text"](text=tf.constant(prompts))
    encoded = tokenizer(prompts, padding=True, return_tensors="tf", return_token_type_ids=False)
    expected = model.generate(**encoded, max_new_tokens=8, do_sample=False)
    np.testing.assert_array_equal(answers["output_ids"], expected)
    written = [text.decode() for text in answers["text"].numpy()]
    assert written == tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert any(written)


@pytest.mark.parametrize("kind", ["t5", "t5 of today", "gpt2"])
def test_ids_are_spelled_as_the_tokenizer_does(kind):
    tokenizer = serving_texts.byte_level("gpt2") if kind == "gpt2" else serving_texts.unigram(kind)
    tokenizer.add_tokens([tokenizers.AddedToken("own", normalized=False)])
    assert can_detokenize(tokenizer)
    ids = np.random.default_rng(0).integers(0, len(tokenizer) + 3, (200, 6))
    ids[:20, 0] = tokenizer.convert_tokens_to_ids("Ġ" if kind == "gpt2" else "▁")
    written = [text.decode() for text in Detokenizer(tokenizer)(tf.constant(ids, tf.int32)).numpy()]
    assert written == tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_warm_up_requests_are_answered(exported):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    loaded = tf.saved_model.load(str(exported))
    file = exported / "assets.extra" / "tf_serving_warmup_requests"
    signatures = set()
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        assert len(loaded.signatures[request.model_spec.signature_name](**inputs)["label"]) > 1
        assert request.model_spec.name == "sentiment"
        signatures.add(request.model_spec.signature_name)
    assert signatures == {"text", "text_pairs", "token_ids", "token_ids_and_types"}


def test_the_example_client_asks_by_both_protocols(exported, bert, tokenizer, capsys):
    pytest.importorskip("tensorflow_serving")
    import serving_client
    from predict_server import predict_server

    logits = bert(tokenizer(TEXTS, padding=True, return_tensors="tf")).logits.numpy()
    labels = [bert.config.id2label[index] for index in logits.argmax(axis=1)]
    ids = {"input_ids": [[2, 5, 3], [2, 6, 3]], "attention_mask": [[1, 1, 1], [1, 1, 1]]}
    with predict_server(exported, "sentiment") as (rest, grpc):
        for ask, address in ((serving_client.ask_by_rest, rest), (serving_client.ask_by_grpc, grpc)):
            answers = ask(address, "sentiment", "serving_default", {"text": TEXTS})
            assert answers["label"] == labels
            np.testing.assert_allclose(answers["logits"], logits, atol=1e-5)
            assert len(ask(address, "sentiment", "token_ids", ids)["label"]) == 2
            assert ask(address, "sentiment", "text", {"text": []})["label"] == []
            with pytest.raises(RuntimeError, match=r"400|NOT_FOUND"):
                ask(address, "another", "serving_default", {"text": TEXTS})
        for protocol, address in (("rest", rest), ("grpc", grpc)):
            options = ["--model", "sentiment", "--protocol", protocol, "--address", address]
            serving_client.main([*options, *TEXTS])
            lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert [(line["text"], line["label"]) for line in lines] == list(zip(TEXTS, labels, strict=True))


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_the_example_client_says_that_nobody_answers(protocol, capsys):
    pytest.importorskip("tensorflow_serving")
    import serving_client

    with pytest.raises(SystemExit, match="1"):
        serving_client.main(["--model", "m", "--protocol", protocol, "--address", "localhost:1", "hello"])
    assert capsys.readouterr().err.startswith("error: ")


def test_the_command_exports_a_directory_and_says_what_is_wrong(bert, folder, capsys):
    bert.save_pretrained(folder / "model")
    assert main(["export", str(folder / "model"), str(folder / "served"), "--version", "5"]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "served" / "5")
    assert "token_ids" in tf.saved_model.load(str(folder / "served" / "5")).signatures
    assert main(["export", str(folder), str(folder / "other")]) == 1
    assert "holds no model" in capsys.readouterr().err
    assert not (folder / "other").exists()


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_plain_models_are_published_and_checked_alike(kind, folder):
    keras = importlib.import_module(kind)
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    model = keras.Model([a, b], {"sum": keras.layers.Dense(2)(keras.layers.Concatenate()([a, b])), "same": a})
    inputs = {"a": np.ones((5, 4), np.float32), "b": np.zeros((5, 2), np.float32)}
    loaded = tf.saved_model.load(str(export_for_serving(model, folder)))
    answers = loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in inputs.items()})
    assert set(answers) == {"sum", "same"}
    np.testing.assert_allclose(answers["sum"], model([inputs["a"], inputs["b"]])["sum"], atol=1e-6)


@pytest.mark.nightly
def test_plain_models_on_jax_are_exported(folder):
    code = (
        "import keras, numpy, tiny; from tf_hfwb import export_for_serving; "
        f"model = tiny.functional('keras'); export_for_serving(model, {str(folder)!r}); "
        "print([keras.backend.backend(), model({'x': numpy.ones((2, 4))}).tolist()])"
    )
    backend, expected = ast.literal_eval(python("-c", code, KERAS_BACKEND="jax").stdout.splitlines()[-1])
    assert backend == "jax"
    answers = tf.saved_model.load(str(folder / "1")).signatures["serving_default"](x=tf.ones([2, 4]))
    np.testing.assert_allclose(answers["output_0"], expected, atol=1e-5)


@pytest.mark.nightly
def test_models_of_keras_hub_are_plain_models(folder):
    models = pytest.importorskip("keras_hub").models
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "max_sequence_length": 16}
    model = models.BertTextClassifier(models.BertBackbone(50, **sizes), num_classes=2, preprocessor=None)
    signature = tf.saved_model.load(str(export_for_serving(model, folder))).signatures["serving_default"]
    ids = np.array([[2, 7, 9, 3], [2, 5, 3, 0], [2, 3, 0, 0]], np.int32)
    inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": (ids > 0).astype(np.int32)}
    (answer,) = signature(**{name: tf.constant(value) for name, value in inputs.items()}).values()
    np.testing.assert_allclose(answer, model(inputs), atol=1e-5)


def test_a_model_that_does_not_know_its_inputs_is_an_error(folder):
    class Own(tf_keras.Model):
        def call(self, inputs):
            return inputs

    model = Own()
    model(np.ones((1, 2)))
    with pytest.raises(SettingError, match=r"model='Own' .* functional or sequential .* keras\.Model\(inputs"):
        export_for_serving(model, folder / "served")
    assert not (folder / "served").exists()


@pytest.mark.nightly
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
    monkeypatch.setattr(export_check, "TOLERANCE", -1.0)
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
        ({"sample_texts": "hello"}, "sample_texts='hello' .* a list of texts"),
        ({"aliases": ["best"]}, "aliases=.*none without an artifact"),
        ({"aliases": "best", "artifact_name": "x"}, "aliases='best' .* a list"),
        ({"aliases": ["a/b:c"], "artifact_name": "x"}, "alias='a/b:c' .* without '/' and ':'"),
        ({"aliases": ["v3"], "artifact_name": "x"}, "alias='v3'"),
    ],
)
def test_bad_arguments_are_errors_before_the_work(options, message, bert, folder):
    (folder / "3").mkdir()
    with pytest.raises(SettingError, match=message):
        export_for_serving(bert, folder, **options)
    assert [path.name for path in folder.iterdir()] == ["3"]


def test_an_artifact_that_cannot_be_logged_is_an_error_of_the_command(folder, capsys, monkeypatch):
    def refused(*args, **options):
        raise ValueError("refused")

    import wandb

    tiny.functional("keras").save(folder / "model.keras")
    monkeypatch.setattr(wandb.Artifact, "add_file", refused)
    arguments = ["export", str(folder / "model.keras"), str(folder / "served"), "--artifact_name", "first"]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(folder / "served" / "1")]
    assert "error: servable-first could not be logged" in err


def test_options_for_serving_are_refused_for_pytorch(capsys):
    for options in (["--version", "3"], ["--artifact_name", "x"], ["--alias", "best"], ["--link_to_registry", "x"]):
        assert main(["export", "somewhere", "there", "--to", "pytorch", *options]) == 1
        assert f"{options[0]}=" in capsys.readouterr().err


def test_sources_without_a_model_are_errors_and_leave_nothing(folder):
    (folder / "source").mkdir()
    (folder / "source" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(NotACheckpointError):
        export_for_serving(folder / "source", folder / "served")
    assert [path.name for path in folder.iterdir()] == ["source"]


@pytest.mark.nightly
def test_a_watching_server_sees_whole_exports_only(folder):
    model = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(2)])
    seen: dict[int, str] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for number in set(versions(folder)) - seen.keys():
                try:
                    loaded = tf.saved_model.load(str(folder / str(number)))
                    loaded.signatures["serving_default"](tf.zeros([1, 3]))
                    seen[number] = "whole"
                except Exception as error:
                    seen[number] = str(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(50):
        export_for_serving(model, folder)
    ended.set()
    watcher.join()
    assert set(seen.values()) == {"whole"}
    assert len(seen) >= 49  # The last may come when nobody watches any more.


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


def test_drafts_of_processes_that_are_gone_are_removed_and_those_of_others_stay(folder):
    code = (
        "import os, pathlib, sys; from tf_hfwb.serving.version_folders import new_version\n"
        f"with new_version(pathlib.Path({str(folder)!r}), None) as draft:\n"
        "    (draft.path / 'file').write_text('')\n"
        "    os.kill(os.getpid(), 15)\n"
    )
    python("-c", code, check=False)
    assert len(list(folder.iterdir())) == 2  # A draft, and what its process held.
    (folder / ".being-written-by-me").mkdir()
    with new_version(folder, None), new_version(folder, None):
        pass
    assert sorted(path.name for path in folder.iterdir()) == [".being-written-by-me", "1", "2"]


def test_versions_are_on_the_disk_before_they_appear(folder, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    with new_version(folder, None) as draft:
        (draft.path / "variables").mkdir()
        (draft.path / "variables" / "file").write_text("")
    draft_files = [pathlib.Path(path).relative_to(draft.path) for path in done[:-1]]
    assert sorted(map(str, draft_files)) == [".", "variables", "variables/file"]
    assert done[-1] == str(folder)


def test_the_model_is_called_by_the_directorys_name_wherever_it_is_watched_from(folder, monkeypatch):
    pytest.importorskip("tensorflow_serving")
    monkeypatch.chdir(folder)
    path = export_for_serving(tiny.functional("keras"), ".")
    assert b"folder" in (path / "assets.extra" / "tf_serving_warmup_requests").read_bytes()
