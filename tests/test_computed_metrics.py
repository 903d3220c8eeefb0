"""Metrics in Python: what compute_metrics gets and when, in the trainer and in a plain fit of both Kerases."""

from __future__ import annotations

import collections
import importlib
import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
from helpers import KERASES, classifier, eval_rows, finish, history, nightly, python, samples
from sklearn.metrics import matthews_corrcoef

from tf_hfwb import (
    ComputeMetrics,
    TFTrainer,
    TFTrainingArguments,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    restore,
    training_batches,
)
from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.evaluation.text_generation import Generator

STEP = "train/global_step"


def of_classes(prediction) -> dict[str, float]:
    classes = prediction.predictions.argmax(-1)
    return {
        "right": np.float32(np.mean(classes == prediction.label_ids)),
        "matthews": matthews_corrcoef(prediction.label_ids, classes),
    }


def token_f1(prediction) -> dict[str, float]:
    """The F1 of the spans of equal labels above 0, within the tokens that have a label."""

    def spans(tags):
        starts = [i for i, tag in enumerate(tags) if i == 0 or tag != tags[i - 1]]
        return {(i, tags[i]) for i in starts if tags[i] > 0}

    right = guessed = there = 0
    for logits, labels in zip(prediction.predictions, prediction.label_ids, strict=True):
        kept = labels != -100
        guess, truth = spans(logits.argmax(-1)[kept].tolist()), spans(labels[kept].tolist())
        right, guessed, there = right + len(guess & truth), guessed + len(guess), there + len(truth)
    return {"f1": 2 * right / max(1, guessed + there)}


def overlap(prediction) -> dict[str, float]:
    """The share of a text's tokens that are generated, as ROUGE-1 counts them."""
    shares = []
    for tokens, labels in zip(prediction.predictions, prediction.label_ids, strict=True):
        wanted = collections.Counter(labels[labels > 0].tolist())
        shares.append((wanted & collections.Counter(tokens[tokens > 0].tolist())).total() / wanted.total())
    return {"overlap": np.mean(shares), "width": prediction.predictions.shape[1]}


def next_right(prediction) -> dict[str, float]:
    kept = prediction.label_ids[:, 1:] != -100
    return {"right": np.mean((prediction.predictions[:, :-1].argmax(-1) == prediction.label_ids[:, 1:])[kept])}


def fit(model, data, *callbacks, batch_size=4, epochs=2, **options):
    return model.fit(*data, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=list(callbacks), **options)


# A plain fit

MODELS = {
    "bert": (tiny.bert, tiny.classified, of_classes),
    "vit": (tiny.vit, tiny.pictures, of_classes),
    "distilbert": (tiny.distilbert, tiny.tagged, token_f1),
    "gpt2": (tiny.gpt2, tiny.next_words, next_right),
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["bert", nightly("gpt2"), nightly("vit"), nightly("distilbert")])
def test_models_of_transformers(name):
    make, data, compute = MODELS[name]
    model = make()
    model.compile(tf_keras.optimizers.Adam(0.01))
    batches = training_batches(data(), 4, model=model, processing_class=tiny.tokenizer())
    metrics = ComputeMetrics(compute, data(), batch_size=4, processing_class=tiny.tokenizer())
    fitted = model.fit(batches.dataset, steps_per_epoch=3, epochs=2, verbose=0, callbacks=[metrics])
    trainer = TFTrainer(
        model,
        TFTrainingArguments(per_device_eval_batch_size=4, report_to="none"),
        eval_dataset=data(),
        processing_class=tiny.tokenizer(),
        compute_metrics=compute,
    )
    expected = trainer.evaluate()
    for name in fitted.history.keys() - {"loss"}:
        assert fitted.history[name][-1] == pytest.approx(expected[f"eval_{name.removeprefix('val_')}"])
    assert len(fitted.history) > 1


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize("logger_is", ["first", nightly("last")])
def test_results_are_monitored_logged_and_in_the_history(kind, logger_is, tmp_path):
    keras = importlib.import_module(kind)
    model = classifier(kind, learning_rate=0.05)
    x, y = samples(22)
    seen = []

    def worse_each_time(prediction):
        seen.append(of_classes(prediction)["matthews"])
        return {"score": 10.0 - len(seen), "matthews": seen[-1], "table": [[1, 2]], "nan": float("nan")}

    metrics = ComputeMetrics(worse_each_time, (x, y))
    stop = keras.callbacks.EarlyStopping("val_score", mode="max", patience=1)
    save = WandbModelCheckpoint(tmp_path, save_freq="epoch", monitor="val_loss", save_best_only=True)
    logger = WandbMetricsLogger()
    callbacks = [logger, metrics, stop, save] if logger_is == "first" else [metrics, stop, logger, save]
    fitted = fit(model, (x, y), *callbacks, epochs=9, validation_data=(x, y))
    assert fitted.history["val_score"] == [9.0, 8.0]
    assert fitted.history["val_matthews"] == pytest.approx(seen)
    assert "val_table" not in fitted.history
    rows = eval_rows(history(finish()))
    scored = [row for row in rows if "eval/score" in row]
    assert [row["eval/score"] for row in scored] == [9.0, 8.0]
    assert [row["eval/matthews"] for row in scored] == pytest.approx(seen)
    assert all(np.isnan(row["eval/nan"]) for row in scored)
    assert [row[STEP] for row in scored] == [6, 12]
    # Keras evaluates as well, and the checkpoint knows of it.
    assert [row["eval/loss"] for row in rows if "eval/loss" in row] == pytest.approx(fitted.history["val_loss"])
    best = min(range(2), key=fitted.history["val_loss"].__getitem__)
    assert save.best == pytest.approx(fitted.history["val_loss"][best])


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_by_steps_on_two_data_sets(kind):
    model = classifier(kind, learning_rate=0.05)
    data, other = samples(22), samples(9, seed=1)
    by_steps = ComputeMetrics(of_classes, data, eval_freq=4)
    by_epochs = ComputeMetrics(of_classes, tf.data.Dataset.from_tensor_slices(other).batch(2), prefix="val_other_")
    fitted = fit(model, data, WandbMetricsLogger(), by_steps, by_epochs)
    rows = eval_rows(history(finish()))
    assert [row[STEP] for row in rows if "eval/right" in row] == [4, 8, 12]
    assert [row[STEP] for row in rows if "eval/other_right" in row] == [6, 12]
    assert len(rows) == 5
    assert fitted.history["val_right"] == [row["eval/right"] for row in rows if row.get("eval/right") is not None][::2]
    classes = np.argmax(np.asarray(model.predict(other[0], verbose=0)), axis=-1)
    assert fitted.history["val_other_right"][-1] == pytest.approx(np.mean(classes == other[1]))


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_training_stays_as_it_is(kind):
    def trained(*callbacks):
        model = tiny.functional(kind, dropout=0.3)
        fitted = fit(model, tiny.named(samples(22)), *callbacks, shuffle=False)
        return np.concatenate([np.asarray(w).ravel() for w in model.get_weights()]), fitted.history

    weights, logs = trained()
    metrics = ComputeMetrics(of_classes, tiny.named(samples(9)), eval_freq=1)
    again, more = trained(metrics)
    np.testing.assert_array_equal(again, weights)
    assert {name: more[name] for name in logs} == logs
    assert {"val_right", "val_matthews"} == more.keys() - logs.keys()


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_results_before_a_resume_are_in_the_epoch_that_goes_on(kind):
    def trained(model, start=0):
        data = training_batches(samples(22), 4, model=model, start_step=start)
        callbacks = [ComputeMetrics(of_classes, samples(22), eval_freq=4)]
        callbacks += [ComputeMetrics(of_classes, samples(9), eval_freq=5, prefix="val_other_")]
        callbacks += [WandbModelCheckpoint("out", save_freq=5)]
        return model.fit(data.dataset, steps_per_epoch=6, epochs=1, verbose=0, callbacks=callbacks).history

    straight = trained(classifier(kind, learning_rate=0.05))
    model = classifier(kind, learning_rate=0.05)
    position = restore(model, "out/checkpoint-5")
    resumed = trained(model, position.batches)
    assert {"val_right", "val_other_right"} < straight.keys()
    assert resumed == straight


BITWISE = """
import hashlib, json
import tensorflow as tf, tf_keras, tiny
from tf_hfwb import ComputeMetrics, training_batches
tf.config.experimental.enable_op_determinism()

def trained(*callbacks):
    tf_keras.utils.set_random_seed(1)
    model = tiny.gpt2(dropout=0.3)
    model.compile(tf_keras.optimizers.Adam(0.01))
    batches = training_batches(tiny.next_words(), 4, model=model, processing_class=tiny.tokenizer())
    fitted = model.fit(batches.dataset, steps_per_epoch=3, epochs=2, verbose=0, callbacks=list(callbacks))
    state = [*model.variables, *model.optimizer.variables]
    random = tf.random.uniform([3]).numpy().tolist()
    digest = hashlib.sha256(b"".join(v.numpy().tobytes() for v in state)).hexdigest()
    return digest, fitted.history["loss"], random, {n: v for n, v in fitted.history.items() if n != "loss"}

def width(name, **options):
    compute = lambda prediction: {name: prediction.predictions.shape[1]}
    return ComputeMetrics(compute, tiny.next_words(3), batch_size=3, processing_class=tiny.tokenizer(), eval_freq=2,
        predict_with_generate=bool(options), generate_options=options)

print(json.dumps([trained(), trained(width("logits"), width("greedy", max_new_tokens=4),
    width("sampled", max_new_tokens=4, do_sample=True))]))
"""


@pytest.mark.nightly
def test_generating_leaves_every_bit_of_a_training(launcher):
    bare, evaluated = json.loads(launcher.python(BITWISE).stdout.splitlines()[-1])
    assert evaluated[:3] == bare[:3]
    assert bare[3] == {}
    assert evaluated[3] == {"val_logits": [9, 9], "val_greedy": [13, 13], "val_sampled": [13, 13]}


JAX = """
import json, os
import keras, numpy as np, tiny, wandb
from helpers import samples
from tf_hfwb import ComputeMetrics, WandbMetricsLogger
assert keras.backend.backend() == "jax"
x, y = tiny.named(samples(22))

def right(prediction):
    return {"right": np.mean(prediction.predictions.argmax(-1) == prediction.label_ids)}

def trained(*callbacks):
    model = tiny.functional("keras", dropout=0.3, optimizer=keras.optimizers.Adam(0.01))
    fitted = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=list(callbacks))
    expected = np.mean(np.argmax(model.predict(x, verbose=0), axis=-1) == y)
    return [w.tolist() for w in model.get_weights()], fitted.history, float(expected)

bare = trained()
by_steps, by_epochs = ComputeMetrics(right, (x, y), eval_freq=4), ComputeMetrics(right, (x, y), prefix="val_e_")
found = trained(WandbMetricsLogger(), by_steps, by_epochs)
directory = os.path.dirname(wandb.run.dir)
wandb.finish()
print(json.dumps([bare, found, directory]))
"""


@pytest.mark.nightly
def test_a_plain_fit_on_jax():
    pytest.importorskip("jax")
    bare, found, directory = json.loads(python("-c", JAX, KERAS_BACKEND="jax").stdout.splitlines()[-1])
    assert found[0] == bare[0]
    assert {name: found[1][name] for name in bare[1]} == bare[1]
    assert found[1]["val_e_right"][-1] == found[1]["val_right"][-1] == pytest.approx(found[2])
    rows = eval_rows(history(directory))
    assert [row[STEP] for row in rows if "eval/right" in row] == [4, 8, 12]
    assert [row[STEP] for row in rows if "eval/e_right" in row] == [6, 12]


# The trainer


def trainer_of(model, data, compute_metrics, *, preprocess=None, **options):
    defaults = {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "report_to": "none"}
    return TFTrainer(
        model,
        TFTrainingArguments(**{**defaults, "disable_tqdm": True, "save_strategy": "no", **options}),
        train_dataset=data,
        eval_dataset=data,
        processing_class=tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None,
        compute_metrics=compute_metrics,
        preprocess_logits_for_metrics=preprocess,
    )


@pytest.mark.nightly
@pytest.mark.slow
def test_predict_with_generate():
    model, data = tiny.t5(), tiny.answered()
    options = {"predict_with_generate": True, "generation_max_length": 6, "eval_strategy": "epoch"}
    options |= {"num_train_epochs": 1, "learning_rate": 0.01, "per_device_eval_batch_size": 16}
    trainer = trainer_of(model, data, overlap, report_to="wandb", **options)
    trainer.train()
    metrics = trainer.evaluate()
    (in_training, after) = eval_rows(history(finish()))
    assert in_training["eval/overlap"] == after["eval/overlap"] == pytest.approx(metrics["eval_overlap"])
    assert metrics["eval_width"] == 6
    test = trainer.predict(data)
    assert test.predictions.shape == (11, 6)
    inputs = tiny.tokenizer().pad({"input_ids": data["input_ids"]}, return_tensors="tf")
    expected = model.generate(**inputs, max_length=6).numpy()
    np.testing.assert_array_equal(test.predictions[:, : expected.shape[1]], expected)
    assert trainer._plan_evaluation({}).generator is trainer._plan_evaluation({}).generator
    plain = trainer_of(model, data, None, per_device_eval_batch_size=16)
    assert metrics["eval_loss"] == test.metrics["test_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=1e-5)
    without_labels = trainer.predict(data.remove_columns("labels"))
    np.testing.assert_array_equal(without_labels.predictions, test.predictions)
    assert without_labels.label_ids is None


@pytest.mark.parametrize("generates", [False, nightly(True)])
def test_what_a_decoder_only_model_generates_follows_the_prompt(generates, monkeypatch):
    """As generate of transformers gives it, and with it Seq2SeqTrainer; the width of a batch is that of its prompts."""
    data = tiny.next_words(6)
    options = {"generation_max_length": 16, "per_device_eval_batch_size": 2}
    if not generates:
        monkeypatch.setattr(Generator, "__call__", lambda self, inputs: np.full((len(inputs["input_ids"]), 3), 7))
    widths = []
    trainer = trainer_of(
        tiny.gpt2(), data, lambda p: widths.append(p.predictions.shape) or {}, predict_with_generate=True, **options
    )
    predictions = trainer.predict(data, max_new_tokens=3).predictions
    for row, (tokens, ids) in enumerate(zip(predictions, data["input_ids"], strict=True)):
        width = max(map(len, data["input_ids"][row // 2 * 2 : row // 2 * 2 + 2]))
        assert tokens[: len(ids)].tolist() == ids
        assert (tokens[width : width + 3] >= 0).all()
        assert (tokens[width + 3 :] == -100).all()
    longest = max(map(len, data["input_ids"]))
    assert predictions.shape == (6, longest + 3) == widths[0]


def test_a_generation_config_of_ones_own(tmp_path):
    model = tiny.t5()
    (tmp_path / "generation_config.json").write_text('{"max_length": 9, "decoder_start_token_id": 0}')
    for source in (tmp_path, tmp_path / "generation_config.json"):
        trainer = trainer_of(model, None, None, predict_with_generate=True, generation_config=str(source))
        assert model.generation_config.max_length == 9
        assert trainer._plan_evaluation({}).generator.lengths.exact(5).total == 9
        assert trainer._plan_evaluation({"max_new_tokens": 3}).generator.lengths.exact(5).total == 4
    with pytest.raises(SettingError, match="generation_config='nowhere'"):
        trainer_of(model, None, None, generation_config="nowhere")


def test_what_cannot_generate_is_refused_before_training():
    with pytest.raises(SettingError, match=r"TFBertForSequenceClassification.*can generate"):
        trainer_of(tiny.bert(), tiny.classified(), None, predict_with_generate=True)
    with pytest.raises(SettingError, match=r"num_beams=2 .*predict_with_generate=True"):
        trainer_of(tiny.bert(), tiny.classified(), None).evaluate(num_beams=2)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["distilbert", "keras"])
def test_preprocessed_predictions(name):
    is_bert = name == "distilbert"
    model, data = (tiny.distilbert(), tiny.tagged()) if is_bert else (tiny.functional(name), tiny.named(samples(11)))
    got = []

    def classes(logits, labels):
        assert isinstance(logits, np.ndarray)
        assert logits.shape[:-1] == labels.shape
        return logits.argmax(-1)

    trainer = trainer_of(model, data, lambda p: got.append(p.predictions) or {}, preprocess=classes)
    trainer.evaluate()
    whole = trainer_of(model, data, None).predict(data).predictions
    kept = got[0] != -100
    np.testing.assert_array_equal(got[0][kept], whole.argmax(-1)[kept])
    assert got[0].shape == whole.shape[:-1]
    np.testing.assert_array_equal(trainer.predict(data).predictions, got[0])
    with pytest.raises(SettingError, match=r"preprocess_logits_for_metrics.*\[\(\)\].*4 samples"):
        trainer_of(model, data, lambda p: {}, preprocess=lambda logits, labels: logits.max()).evaluate()


@pytest.mark.parametrize("name", [nightly("bert"), "tf_keras"])
def test_metrics_batch_by_batch(name):
    is_bert = name == "bert"
    model, data = (tiny.bert(), tiny.classified()) if is_bert else (tiny.functional(name), tiny.named(samples(11)))
    calls = []

    def counted(prediction, compute_result):
        calls.append((len(prediction.label_ids), compute_result))
        counted.right += np.sum(prediction.predictions.argmax(-1) == prediction.label_ids)
        return {"right": counted.right / 11} if compute_result else None

    counted.right = 0
    trainer = trainer_of(model, data, counted, batch_eval_metrics=True)
    found = trainer.evaluate()
    assert calls == [(4, False), (4, False), (3, True)]
    expected = trainer_of(model, data, of_classes).evaluate()
    assert found["eval_right"] == pytest.approx(expected["eval_right"])
    assert found["eval_loss"] == pytest.approx(expected["eval_loss"])
    counted.right = 0
    assert len(trainer.predict(data).predictions) == 11
    with pytest.raises(SettingError, match=r"of_classes.*compute_result"):
        trainer_of(model, data, of_classes, batch_eval_metrics=True)


def test_inputs_and_losses():
    model, data = tiny.bert(), tiny.classified()
    got = []
    trainer = trainer_of(
        model, data, lambda p: got.append((p.inputs, p.losses)) or {}, include_for_metrics=["inputs", "loss"]
    )
    metrics = trainer.evaluate()
    ((inputs, losses),) = got
    for row, ids in zip(inputs, data["input_ids"], strict=True):
        np.testing.assert_array_equal(row[: len(ids)], ids)
    assert len(losses) == 11
    assert len(set(losses.tolist())) == 3
    assert losses.mean() == pytest.approx(metrics["eval_loss"])
    x, y = tiny.named(samples(11))
    trainer_of(
        tiny.functional("keras"), (x, y), lambda p: got.append(p.inputs) or {}, include_for_metrics=["inputs"]
    ).evaluate()
    np.testing.assert_array_equal(got[-1], x["x"])
    with pytest.raises(SettingError, match="include_for_metrics='loss'"):
        trainer_of(tiny.functional("keras"), (x, y), of_classes, include_for_metrics=["loss"])
    with pytest.raises(SettingError, match=r"include_for_metrics='losses' .*'inputs', 'loss'"):
        TFTrainingArguments(include_for_metrics=["losses"])


# What is refused


def nested(prediction):
    return {
        "overall": {"f1": 0.5, "by": {1: np.float32(0.25)}},
        "array": np.array([0.5]),
        "tensor": tf.constant(0.125),
        "whole": np.int64(3),
        "eval_named": 1.0,
        "val_also": 2.0,
        "word": "high",
        "nothing": None,
        "several": [[1, 2]],
    }


NUMBERS = {"overall_f1": 0.5, "overall_by_1": 0.25, "array": 0.5, "tensor": 0.125, "whole": 3.0}


@pytest.mark.filterwarnings("error::DeprecationWarning")
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_results_that_are_nested_or_no_numbers(kind, caplog):
    data = samples(8)
    fitted = fit(classifier(kind), data, WandbMetricsLogger(), ComputeMetrics(nested, data), batch_size=8)
    expected = NUMBERS | {"named": 1.0, "also": 2.0}
    assert {name: values for name, values in fitted.history.items() if name.startswith("val_")} == {
        f"val_{name}": [value, value] for name, value in expected.items()
    }
    row = eval_rows(history(finish()))[-1]
    assert {f"eval/{name}": value for name, value in expected.items()}.items() <= row.items()
    (said,) = [one.getMessage() for one in caplog.records if "what is no number" in one.getMessage()]
    assert "word (str), nothing (NoneType), several (list)" in said


def test_results_that_are_nested_in_the_trainer(caplog):
    model = classifier("keras")
    args = TFTrainingArguments("out", disable_tqdm=True)
    trainer = TFTrainer(model, args, eval_dataset=samples(8), compute_metrics=nested)
    metrics = trainer.evaluate()
    metrics = trainer.evaluate()
    assert metrics["eval_overall"] == {"f1": 0.5, "by": {1: 0.25}}
    assert (metrics["eval_array"], metrics["eval_tensor"], metrics["eval_several"]) == (0.5, 0.125, [[1, 2]])
    assert (metrics["eval_named"], metrics["eval_word"], metrics["eval_nothing"]) == (1.0, "high", None)
    assert metrics["eval_whole"] == 3
    assert type(metrics["eval_whole"]) is int
    assert caplog.text.count("what is no number") == 1
    kept = json.loads(json.dumps(trainer.state.log_history[-1]))
    assert (kept["eval_overall"], kept["eval_word"]) == ({"f1": 0.5, "by": {"1": 0.25}}, "high")
    row = eval_rows(history(finish()))[-1]  # The run has numbers only.
    assert {f"eval/{name}": value for name, value in NUMBERS.items()}.items() <= row.items()
    assert not any("word" in name for name in row)
    trainer.compute_metrics = lambda prediction: {"a_b": 1.0, "a": {"b": 2.0}}
    with pytest.raises(SettingError, match="one metric of the name 'a_b'"):
        trainer.evaluate()


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_loss_does_not_take_the_place_of_keras_s_own(kind, caplog):
    data = samples(8)
    for options, expected in (({"validation_data": data}, "val_computed_loss"), ({}, "val_loss")):
        caplog.clear()
        computed = ComputeMetrics(lambda prediction: {"loss": 99.0}, data)
        fitted = fit(classifier(kind), data, computed, **options)
        assert fitted.history[expected] == [99.0, 99.0]
        assert fitted.history["val_loss"][0] < 9.0 or not options
        assert caplog.text.count("val_computed_loss") == len(options)


def test_a_result_that_is_no_dict():
    trainer = trainer_of(tiny.functional("keras"), tiny.named(samples(11)), lambda p: 0.5)
    with pytest.raises(
        SettingError, match=r"compute_metrics\(prediction\)=0\.5 .*a dict of metrics by name, not a float"
    ):
        trainer.evaluate()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"eval_freq": 0}, "eval_freq=0"),
        ({"eval_freq": "batch"}, "eval_freq='batch'"),
        ({"prefix": "test_"}, "prefix='test_'"),
        ({"compute_metrics": None}, "compute_metrics=None"),
        ({"compute_metrics": "accuracy"}, "compute_metrics='accuracy'"),
        ({"batch_eval_metrics": True}, "compute_result"),
        ({"generate_options": {"num_beams": 2}}, "predict_with_generate"),
    ],
)
def test_arguments_that_are_refused(options, match):
    with pytest.raises(SettingError, match=match):
        ComputeMetrics(**{"compute_metrics": of_classes, "dataset": samples(4), **options})


@pytest.mark.parametrize("kind", KERASES)
def test_what_cannot_work_is_refused_before_the_first_step(kind):
    model = classifier(kind, learning_rate=0.1)
    before = model.get_weights()
    with pytest.raises(DataError, match="no labels"):
        fit(model, samples(8), ComputeMetrics(of_classes, (samples(8)[0],)))
    with pytest.raises(SettingError, match="can generate"):
        fit(model, samples(8), ComputeMetrics(of_classes, samples(8), predict_with_generate=True))
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_under_several_steps_per_execution(kind):
    model, (x, y) = classifier(kind, learning_rate=0.1, steps_per_execution=4), samples(40)
    seen = []

    def right(prediction):
        seen.append(len(prediction.predictions))
        return {"right": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    history = model.fit(x, y, batch_size=4, epochs=2, callbacks=[ComputeMetrics(right, (x, y))], verbose=0).history
    assert seen == [40, 40]
    expected = float((np.asarray(model.predict(x, verbose=0)).argmax(-1) == y).mean())
    assert history["val_right"][-1] == expected
