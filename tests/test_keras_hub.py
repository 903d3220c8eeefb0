"""Tasks of KerasHub on texts and images as they are: trained, resumed, shown and exported."""

from __future__ import annotations

import ast
import json
import pathlib
import re

import datasets
import numpy as np
import pytest
import tensorflow as tf
from helpers import finish, history, nightly, python

pytest.importorskip("keras_hub")

import hub_models

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbEvalTable, export_for_serving, load_model
from tf_hfwb.errors import DataError, SettingError, UnsafeModelError
from tf_hfwb.evaluation.tables.predicted_samples import PredictedSamples
from tf_hfwb.evaluation.task_generation import TaskGenerator

pytestmark = pytest.mark.keras3


def arguments(**options) -> TFTrainingArguments:
    defaults = {"output_dir": "out", "num_train_epochs": 2, "report_to": "none", "save_strategy": "no"}
    return TFTrainingArguments(**{**defaults, "disable_tqdm": True, "learning_rate": 1e-2, **options})


def weights_of(model) -> list:
    return [np.array(variable) for variable in model.weights]


def assert_same(first, second) -> None:
    for one, other in zip(weights_of(first), weights_of(second), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "steps", "is_exported"),
    [(hub_models.albert, [2], False), nightly(hub_models.classifier, [2, 4], True)],
)
def test_a_task_trains_from_sentences_resumes_exactly_shows_its_table_and_is_exported(
    make, steps, is_exported, tmp_path
):
    """Each training sets TensorFlow's seed, at which tokenizers of SentencePiece are lost, whosever they are."""
    from test_eval_table import increments

    data = hub_models.sentences()  # Three batches of eight, the last one of five.
    options = {"save_strategy": "steps", "save_steps": 2, "report_to": "wandb", "eval_strategy": "epoch"}
    whole = TFTrainer(
        make(),
        arguments(**options),
        train_dataset=data,
        eval_dataset=data,
        callbacks=[WandbEvalTable(data, num_samples=4)],
    )
    assert whole.train().global_step == 6
    run = finish()
    assert [row["train/global_step"] for row in history(run) if "eval/loss" in row] == [3, 6]
    table = increments(run)[-1]
    shown = dict(zip(table["columns"], table["data"][0], strict=True))
    assert shown["text"] == "the cat sees a dog"
    assert shown["label"] == "cat"
    assert shown["prediction"] in ("cat", "dog", "bird")

    for step in steps:  # In the middle of the first epoch, and of the second.
        resumed = TFTrainer(make(seed=1), arguments(), train_dataset=data)
        assert resumed.train(resume_from_checkpoint=f"out/checkpoint-{step}").global_step == 6
        assert_same(whole.model, resumed.model)

    loaded = load_model("out/checkpoint-6")
    texts = np.array(data["text"][:5])
    expected = whole.model.predict(texts, verbose=0)
    for other in (loaded, hub_models.models.TextClassifier.from_preset("out/checkpoint-6")):
        np.testing.assert_array_equal(other.predict(texts, verbose=0), expected)
    if not is_exported:
        return
    path = export_for_serving(loaded, tmp_path / "served")
    answers = tf.saved_model.load(str(path)).signatures["serving_default"](tf.constant(texts))
    np.testing.assert_allclose(answers["output_0"], whole.model.predict(texts, verbose=0), atol=1e-5)


@pytest.mark.nightly
def test_frozen_weights_are_links_and_checkpoints_of_earlier_releases_are_continued(monkeypatch):
    from tf_hfwb.keras_compat import keras3_host

    def make(seed: int = 0):
        model = hub_models.classifier(seed=seed)
        model.backbone.token_embedding.trainable = False
        return model

    data = hub_models.sentences()
    whole = TFTrainer(make(), arguments(save_strategy="steps", save_steps=3), train_dataset=data)
    whole.train()
    last = pathlib.Path("out/checkpoint-6")
    assert [last.joinpath(f"model_0000{n}.weights.h5").stat().st_nlink for n in (0, 1)] == [2, 1]
    assert_same(hub_models.models.TextClassifier.from_preset(str(last)), whole.model)
    assert_same(load_model(last), whole.model)
    with monkeypatch.context() as earlier:
        earlier.setattr(keras3_host, "preset_files_of", lambda *_: None)
        options = {"output_dir": "earlier", "save_strategy": "steps", "save_steps": 3}
        TFTrainer(make(), arguments(**options), train_dataset=data).train()
    assert pathlib.Path("earlier/checkpoint-3/model.keras").exists()
    resumed = TFTrainer(make(seed=1), arguments(), train_dataset=data)
    resumed.train(resume_from_checkpoint="earlier/checkpoint-3")
    assert_same(resumed.model, whole.model)


@pytest.mark.nightly
def test_texts_by_column_as_arrays_and_prepared_give_the_same_training():
    data = hub_models.sentences()
    texts, labels = np.array(data["text"]), np.array(data["label"])
    prepared = hub_models.classifier().preprocessor(texts)
    columns = {"text": data["text"], "label": data["label"]}
    numbers = datasets.Dataset.from_dict({**{k: np.asarray(v) for k, v in prepared.items()}, "label": labels})
    weights = []
    for kind in (data, columns, (texts, labels), numbers):
        trainer = TFTrainer(hub_models.classifier(), arguments(), train_dataset=kind, eval_dataset=kind)
        trainer.train()
        metrics = trainer.evaluate()
        weights.append((trainer.model, metrics["eval_loss"], trainer.predict(kind).predictions))
    first, loss, predictions = weights[0]
    for model, other_loss, other_predictions in weights[1:]:
        assert_same(first, model)
        assert other_loss == loss
        np.testing.assert_array_equal(other_predictions, predictions)
    np.testing.assert_allclose(first.predict(texts, verbose=0), predictions, atol=1e-6)


@pytest.mark.nightly
def test_texts_of_a_stream():
    data = hub_models.sentences()
    stream = data.to_iterable_dataset()
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = TFTrainer(hub_models.classifier(), arguments(**options), train_dataset=stream)
    whole.train()
    by_rows, by_stream = (whole.evaluate(one)["eval_loss"] for one in (data, stream))
    assert by_stream == pytest.approx(by_rows, rel=1e-5)
    resumed = TFTrainer(hub_models.classifier(seed=1), arguments(**options), train_dataset=stream)
    resumed.train(resume_from_checkpoint="out/checkpoint-2")
    assert_same(resumed.model, whole.model)


def test_images_and_missing_texts_of_a_stream_are_refused():
    for model, data, message in (
        (hub_models.images(), hub_models.pictures(), "Column 'image' of a datasets.IterableDataset holds images"),
        (
            hub_models.classifier(),
            datasets.Dataset.from_dict({"text": ["a", None], "label": [0, 1]}),
            "Column 'text' of a stream has a row without a value",
        ),
    ):
        trainer = TFTrainer(model, arguments(max_steps=1), train_dataset=data.to_iterable_dataset())
        with pytest.raises(DataError, match=message):
            trainer.train()


@pytest.mark.nightly
def test_pairs_of_texts():
    sentences = hub_models.sentences()
    data = datasets.Dataset.from_dict(
        {"premise": sentences["text"], "hypothesis": sentences["text"][::-1], "label": sentences["label"]}
    )
    trainer = TFTrainer(hub_models.classifier(), arguments(), train_dataset=data, eval_dataset=data)
    trainer.train()
    pair = np.array(data["premise"]), np.array(data["hypothesis"])
    expected = trainer.model.predict(pair, verbose=0)
    np.testing.assert_allclose(trainer.predict(data).predictions, expected, atol=1e-6)
    unlabelled = data.remove_columns("label")
    np.testing.assert_allclose(trainer.predict(unlabelled).predictions, expected, atol=1e-6)
    samples = PredictedSamples(trainer.model, data, number=2)
    rows = samples.rows(samples.predict())
    assert [row["text"] for row in rows] == [data["premise"][0], data["premise"][20]]
    assert rows[0]["text_pair"] == data["hypothesis"][0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a", None], "label": [0, 1]}, r"Column 'text' has 1 rows without a value .* dataset\.filter"),
        ({"a": ["x"], "b": ["y"], "c": ["z"], "label": [0]}, r"3 could be meant\. Expected one column of texts"),
        ({"number": [1], "label": [0]}, r"0 could be meant\. Expected .* or all inputs of its graph"),
        ({"text": ["a"], "label": ["b"]}, r"Label column 'label' does not hold numbers\. .*class_encode_column"),
        ({"text": ["a"], "label": [7]}, r"go from 7 to 7, and BertTextClassifier has the classes 0 to 2"),
    ],
)
def test_columns_that_cannot_be_used_are_errors_before_the_first_step(columns, message):
    trainer = TFTrainer(hub_models.classifier(), arguments(), train_dataset=datasets.Dataset.from_dict(columns))
    with pytest.raises(DataError, match=message):
        trainer.train()


def test_a_tokenizer_beside_its_own_is_refused():
    class Tokenizer:
        def save_pretrained(self, directory):
            raise AssertionError

    with pytest.raises(SettingError, match="Expected None for a task of KerasHub, whose own preprocessor is saved"):
        TFTrainer(hub_models.classifier(), arguments(), processing_class=Tokenizer()).save_model()


def test_tokens_of_texts_are_not_counted():
    trainer = TFTrainer(
        hub_models.classifier(), arguments(include_tokens_per_second=True), train_dataset=hub_models.sentences()
    )
    with pytest.raises(DataError, match="cannot be counted: the batches hold texts or images"):
        trainer.train()


@pytest.mark.nightly
def test_images_of_any_size_are_resized_by_the_preprocessor():
    data = hub_models.pictures()
    trainer = TFTrainer(hub_models.images(), arguments(save_strategy="epoch"), train_dataset=data, eval_dataset=data)
    trainer.train()
    expected = [trainer.model.predict(np.asarray(row["image"])[None], verbose=0)[0] for row in data]
    np.testing.assert_allclose(trainer.predict(data).predictions, expected, atol=1e-4)
    assert_same(hub_models.models.ImageClassifier.from_preset("out/checkpoint-4"), trainer.model)
    assert trainer.evaluate()["eval_loss"] > 0
    samples = PredictedSamples(trainer.model, data, number=2)
    (row, _) = samples.rows(samples.predict())
    assert row["image"].shape == (16, 16, 3)
    assert row["image"].dtype == np.uint8


@pytest.mark.nightly
def test_a_causal_language_model_generates_in_evaluations_and_tables():
    data = hub_models.sentences(5).select_columns("text")
    found = []

    def compute_metrics(prediction):
        found.extend(prediction.predictions.tolist())
        return {"length": np.mean([len(text) for text in prediction.predictions])}

    model = hub_models.gpt2(length=48)
    trainer = TFTrainer(
        model,
        arguments(predict_with_generate=True, generation_max_length=40, eval_strategy="epoch", save_strategy="epoch"),
        train_dataset=data,
        eval_dataset=data,
        compute_metrics=compute_metrics,
    )
    trainer.train()
    assert len(found) == 10
    expected = model.generate(list(data["text"]), max_length=40, strip_prompt=True)
    assert found[5:] == expected
    loaded = hub_models.models.CausalLM.from_preset("out/checkpoint-2")
    assert_same(loaded, model)
    loaded.compile(sampler="greedy")
    assert loaded.generate(list(data["text"]), max_length=40, strip_prompt=True) == expected
    samples = PredictedSamples(model, data, number=3, generation={"max_new_tokens": 4})
    rows = samples.rows(samples.predict())
    assert rows[0]["prompt"] == "the cat sees"
    assert rows[0]["label"] == "a dog"
    assert isinstance(rows[0]["prediction"], str)
    with pytest.raises(SettingError, match=r"num_beams=2 .*sampler decides.*model\.compile\(sampler="):
        TFTrainer(model, arguments(predict_with_generate=True, generation_num_beams=2))


@pytest.mark.nightly
def test_a_sequence_to_sequence_model_generates_in_evaluations_and_its_checkpoint_is_a_preset():
    texts = hub_models.sentences(5)["text"]
    data = datasets.Dataset.from_dict({"encoder_text": [one[:20] for one in texts], "decoder_text": texts})
    found = []

    def compute_metrics(prediction):
        found.extend(prediction.predictions.tolist())
        return {"number": len(prediction.predictions)}

    trainer = TFTrainer(
        hub_models.bart(),
        arguments(predict_with_generate=True, generation_max_length=12, num_train_epochs=1, save_strategy="epoch"),
        train_dataset=data,
        eval_dataset=data,
        compute_metrics=compute_metrics,
    )
    trainer.train()
    assert trainer.evaluate()["eval_number"] == len(found) == 5
    assert all(isinstance(text, str) for text in found)
    assert_same(hub_models.models.Seq2SeqLM.from_preset("out/checkpoint-1"), trainer.model)


@pytest.mark.nightly
def test_sampling_leaves_the_training_as_it_was():
    texts = np.array(hub_models.sentences(4)["text"])
    model = hub_models.gpt2()
    model.compile(sampler="top_k")
    generator = TaskGenerator(model)
    first = generator(texts)
    np.testing.assert_array_equal(generator(texts), first)
    np.testing.assert_array_equal(generator(texts[:1]), generator(texts[:1]))


@pytest.mark.nightly
@pytest.mark.parametrize("quantized", [False, True])
def test_lora_trains_the_adapters_alone(quantized):
    model = hub_models.classifier()
    if quantized:
        model.backbone.quantize("int8")
    model.backbone.enable_lora(2)
    before = {variable.path: np.array(variable) for variable in model.weights}
    trainer = TFTrainer(model, arguments(save_strategy="steps", save_steps=4), train_dataset=hub_models.sentences())
    trainer.train()
    changed = {path for path, value in before.items() if not np.array_equal(value, _by_path(model)[path])}
    assert {path.rpartition("/")[2] for path in changed} >= {"lora_kernel_a", "lora_kernel_b"}
    assert not changed & {variable.path for variable in model.non_trainable_variables}
    assert not any("embedding" in path or path.endswith("query/kernel") for path in changed)
    other = hub_models.classifier()  # Of the same base; its adapters and its head are those of the checkpoint.
    if quantized:
        other.backbone.quantize("int8")
    other.backbone.enable_lora(2)
    resumed = TFTrainer(other, arguments(), train_dataset=hub_models.sentences())
    resumed.train(resume_from_checkpoint="out/checkpoint-4")
    assert_same(model, other)


def _by_path(model) -> dict:
    return {variable.path: np.array(variable) for variable in model.weights}


@pytest.mark.nightly
@pytest.mark.parametrize("make", [hub_models.classifier, hub_models.gpt2, hub_models.images])
def test_save_model_writes_a_preset_that_kerashub_and_load_model_open(make):
    model = make()
    trainer = TFTrainer(model, arguments())
    trainer.save_model("saved")
    data = hub_models.pictures(2) if make is hub_models.images else hub_models.sentences(3)
    inputs = np.zeros((2, 16, 16, 3), np.float32) if make is hub_models.images else np.array(data["text"])
    expected = model.predict(inputs, verbose=0)
    for loaded in (type(model).from_preset("saved"), load_model("saved"), load_model("saved", compile=False)):
        assert type(loaded) is type(model)
        np.testing.assert_allclose(loaded.predict(inputs, verbose=0), expected, atol=1e-6)


@pytest.mark.nightly
def test_a_preset_in_an_artifact_is_loaded_by_its_name(tmp_path):
    import wandb

    from tf_hfwb.settings import Settings
    from tf_hfwb.tracking import open_tracker
    from tf_hfwb.tracking.artifact_logging import log_directory

    model = hub_models.classifier()
    model.save_to_preset(str(tmp_path / "preset"))
    log_directory(open_tracker(Settings.resolve()), tmp_path / "preset", name="bert-preset", metadata={})
    finish()
    assert wandb.run is None
    loaded = load_model("bert-preset:latest")
    assert_same(loaded, model)


@pytest.mark.nightly
def test_presets_of_strangers_are_checked(tmp_path):
    hub_models.classifier().save_to_preset(str(tmp_path))
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    content["config"]["vocabulary"] = "/etc/passwd"
    file.write_text(json.dumps(content))
    with pytest.raises(UnsafeModelError, match="a vocabulary that is read from a file of this machine, /etc/passwd"):
        load_model(tmp_path)
    content["config"]["vocabulary"] = None
    content["registered_name"], content["module"], content["class_name"] = "x>Y", "os", "system"
    file.write_text(json.dumps(content))
    with pytest.raises(UnsafeModelError, match=r"the class os\.system"):
        load_model(tmp_path)


@pytest.mark.nightly
def test_a_checkpoint_is_loaded_where_kerashub_was_not_imported_before(launcher):
    model = hub_models.classifier()
    TFTrainer(model, arguments(save_strategy="epoch"), train_dataset=hub_models.sentences()).train()
    texts = ["the cat sees a dog"]
    code = (
        "import numpy as np; from tf_hfwb import load_model; "
        f"print(load_model('out/checkpoint-6').predict(np.array({texts!r}), verbose=0).tolist())"
    )
    printed = launcher.python(code).stdout.splitlines()[-1]
    np.testing.assert_allclose(ast.literal_eval(printed), model.predict(np.array(texts), verbose=0), atol=1e-6)


@pytest.mark.nightly
@pytest.mark.parametrize("make", [hub_models.classifier, hub_models.albert, hub_models.gpt2, hub_models.images])
def test_the_export_takes_what_predict_takes_in_a_process_without_kerashub(make, tmp_path, launcher):
    model = make()
    if make is hub_models.images:
        inputs = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3)).astype(np.float32)
    else:
        inputs = np.array([*hub_models.sentences(3)["text"], ""])
    expected = model.predict(inputs, verbose=0)
    tf.random.set_seed(0)  # From here on a tokenizer of SentencePiece cannot be run, but it can be exported.
    path = export_for_serving(model, tmp_path / "served")
    np.save(tmp_path / "inputs.npy", inputs)
    code = (
        "import sys; sys.modules['keras_hub'] = None\n"
        "import numpy as np, tensorflow as tf, tensorflow_text\n"
        f"signature = tf.saved_model.load({str(path)!r}).signatures['serving_default']\n"
        f"(answer,) = signature(tf.constant(np.load({str(tmp_path / 'inputs.npy')!r}))).values()\n"
        f"np.save({str(tmp_path / 'answers.npy')!r}, answer)"
    )
    launcher.python(code)
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), expected, atol=1e-4)


@pytest.mark.nightly
def test_on_jax_it_trains_is_exported_and_says_what_to_do_where_it_cannot(tmp_path):
    code = (
        "import numpy as np, hub_models; from tf_hfwb import TFTrainer, TFTrainingArguments, export_for_serving\n"
        "data = hub_models.sentences(); model = hub_models.classifier()\n"
        "args = dict(output_dir='out', report_to='none', disable_tqdm=True, num_train_epochs=2, learning_rate=1e-2)\n"
        "args = TFTrainingArguments(save_strategy='steps', save_steps=2, **args)\n"
        "whole = TFTrainer(model, args, train_dataset=data, eval_dataset=data); whole.train()\n"
        "other = TFTrainer(hub_models.classifier(seed=1), args, train_dataset=data, eval_dataset=data)\n"
        "other.train(resume_from_checkpoint='out/checkpoint-4')\n"
        "same = all((np.array(a) == np.array(b)).all() for a, b in zip(model.weights, other.model.weights))\n"
        "assert np.isfinite(other.evaluate()['eval_loss'])\n"
        "texts = np.array(data['text'][:3])\n"
        "np.testing.assert_allclose(whole.predict(data).predictions[:3], model.predict(texts, verbose=0), atol=1e-5)\n"
        "export_for_serving(model, 'served'); expected = model.predict(texts, verbose=0).tolist()\n"
        "model.preprocessor = None\n"
        "try: export_for_serving(model, 'ids')\n"
        "except Exception as error: message = str(error)\n"
        "export_for_serving(model, 'ids', max_length=7)\n"
        "print([same, expected, texts.tolist(), message])"
    )
    printed = python("-c", code, KERAS_BACKEND="jax").stdout.splitlines()[-1]
    same, expected, texts, message = ast.literal_eval(printed)
    assert same
    assert re.search(r"cannot be exported from JAX for sequences of any length: .* Pass max_length=\.\.\.", message)
    import tensorflow_text  # noqa: F401  # It registers the operations.

    signatures = tf.saved_model.load("served/1").signatures
    np.testing.assert_allclose(signatures["text"](text=tf.constant(texts))["output_0"], expected, atol=1e-4)
    specs = tf.saved_model.load("ids/1").signatures["serving_default"].structured_input_signature[1]
    assert specs["token_ids"].shape.as_list() == [None, 7]


@pytest.mark.nightly
def test_a_preset_of_the_hugging_face_hub_is_trained(tmp_path):
    """As if it had been downloaded before."""
    repository = tmp_path / "hub" / "models--tester--bert"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    TFTrainer(hub_models.classifier(), arguments()).save_model(str(repository / "snapshots" / ("0" * 40)))
    code = (
        "import hub_models; from tf_hfwb import TFTrainer, TFTrainingArguments, load_model\n"
        "model = hub_models.models.TextClassifier.from_preset('hf://tester/bert', num_classes=3)\n"
        "args = TFTrainingArguments('out', report_to='none', disable_tqdm=True, max_steps=1, save_strategy='no')\n"
        "trainer = TFTrainer(model, args, train_dataset=hub_models.sentences()); trainer.train()\n"
        "trainer.save_model('saved'); print(type(load_model('saved')).__name__)"
    )
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_CACHE": None, "HF_HUB_OFFLINE": "1"}
    assert python("-c", code, **environment).stdout.splitlines()[-1] == "BertTextClassifier"
