"""``WandbEvalTable`` in real fits: what arrives in the run, and how it goes on."""

from __future__ import annotations

import json
import logging
import pathlib

import datasets
import numpy as np
import pytest
import tiny
import transformers
import wandb
from helpers import classifier, finish, history, nightly, python, records, samples

from tf_hfwb import (
    ComputeMetrics,
    EarlyStopping,
    TFTrainer,
    TFTrainingArguments,
    WandbEvalTable,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    restore,
)
from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.tracking import current_tracker

KEY = "sample_predictions"


def increments(directory, key=KEY) -> list[dict]:
    """What the history says of each increment, with its columns and rows as the artifact has them."""
    manifests = [one["artifact"]["manifest"]["contents"] for one in records(directory) if one["type"] == "artifact"]
    entries = {entry["path"]: entry["local_path"] for contents in manifests for entry in contents}
    found = []
    for row in history(directory):
        if key in row:
            table = json.loads(pathlib.Path(entries[row[key]["artifact_path"].split("/", 3)[3]]).read_text())
            found.append({**row[key], **table, "step": row["train/global_step"]})
    return found


def rows_of(found: list[dict]) -> list[dict]:
    return [dict(zip(one["columns"], row, strict=True)) for one in found for row in one["data"]]


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_a_table_grows_with_each_epoch(kind):
    model, (x, y) = classifier(kind, learning_rate=0.1), samples(40)
    table = WandbEvalTable((x, y), num_samples=6, class_names=["no", "yes", "maybe"])
    model.fit(x, y, batch_size=8, epochs=3, validation_data=(x, y), callbacks=[WandbMetricsLogger(), table], verbose=0)
    found = increments(finish())
    assert [one["step"] for one in found] == [5, 10, 15]
    assert [one["increment_num"] for one in found] == [0, 1, 2]
    assert [len(one["previous_increments_paths"]) for one in found] == [0, 1, 2]
    assert [len(one["data"]) for one in found] == [6, 6, 6]
    rows = rows_of(found)
    assert [row["train/epoch"] for row in rows[::6]] == [1.0, 2.0, 3.0]
    places = [0, 7, 15, 23, 31, 39]
    for number, row in enumerate(rows[12:]):
        probabilities = np.asarray(model(x[[places[number]]]))[0]
        probabilities = np.exp(probabilities) / np.exp(probabilities).sum()
        assert row["example"] == number
        assert row["input"] == " ".join(f"{value:.4g}" for value in x[places[number]])
        assert row["label"] == ["no", "yes", "maybe"][y[places[number]]]
        assert row["prediction"] == ["no", "yes", "maybe"][probabilities.argmax()]
        assert row["probability"] == pytest.approx(probabilities.max(), rel=1e-4)
        assert row["loss"] == pytest.approx(-np.log(probabilities[y[places[number]]]), rel=1e-3)
        assert row["correct"] == (row["label"] == row["prediction"])


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_another_model_is_shown_as_itself(kind):
    (x, y), predicted = samples(16), []
    table = WandbEvalTable((x, y), num_samples=2, freq=2)
    for fold in range(2):
        model = classifier(kind)
        model.set_weights([weight + fold for weight in model.get_weights()])
        model.fit(x, y, epochs=2, callbacks=[table], verbose=0)
        logits = np.asarray(model(x[[0]]))[0].astype("float64")
        predicted.append(np.exp(logits - logits.max()).max() / np.exp(logits - logits.max()).sum())
        (found,) = increments(finish())
        assert rows_of([found])[0]["probability"] == pytest.approx(predicted[-1], rel=1e-4)
    assert predicted[0] != pytest.approx(predicted[1], rel=1e-3)


@pytest.mark.nightly
def test_the_trainers_evaluations_by_steps_and_only_every_other():
    table = WandbEvalTable(tiny.classified(), processing_class=tiny.tokenizer(), num_samples=3, freq=2)
    args = TFTrainingArguments(
        "out", max_steps=9, eval_strategy="steps", eval_steps=2, save_strategy="no", per_device_train_batch_size=4,
        report_to="wandb", disable_tqdm=True,
    )  # fmt: skip
    data, processing = tiny.classified(), tiny.tokenizer()
    trainer = TFTrainer(
        tiny.bert(), args, train_dataset=data, eval_dataset=data, processing_class=processing, callbacks=[table]
    )
    trainer.train()
    found = increments(finish())
    assert [one["step"] for one in found] == [4, 8]
    texts = [row["text"] for row in rows_of(found)]
    assert texts == 2 * ["the cat sees a dog", "dog ##s [UNK] cat ##s", "the dog [UNK] the cat"]


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_what_several_callbacks_evaluate_at_one_step_is_one_evaluation(kind):
    data, other = samples(24), samples(8, seed=1)
    for freqs, steps in ((("epoch", "epoch"), [3, 6]), ((2, "epoch"), [2, 3, 4, 6]), ((2, 3), [2, 3, 4, 6])):
        evaluators = [
            ComputeMetrics(lambda prediction: {"one": 1.0}, data, eval_freq=freqs[0]),
            ComputeMetrics(lambda prediction: {"one": 2.0}, other, eval_freq=freqs[1], prefix="val_other_"),
        ]
        table, second = (WandbEvalTable(data, num_samples=1, freq=freq, table_key=f"by {freq}") for freq in (1, 2))
        stopping = EarlyStopping("val_other_one", patience=9)
        told = []
        stopping.on_evaluated = lambda step, metrics, told=told: told.append((step, sorted(metrics)))
        for callbacks in ([*evaluators, table, second, stopping], [stopping, second, table, *evaluators]):
            classifier(kind).fit(
                *data, batch_size=8, epochs=2, validation_data=data, callbacks=[WandbMetricsLogger(), *callbacks],
                verbose=0,
            )  # fmt: skip
            directory = finish()
            assert [one["step"] for one in increments(directory, "by 1")] == steps
            assert [one["step"] for one in increments(directory, "by 2")] == steps[1::2]
            assert [step for step, _ in told] == steps
            names = ["eval_one", "eval_other_one", "val_accuracy", "val_loss"]
            assert told[-1][1] == names
            told.clear()


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize("options", ["split", nightly("data")])
def test_epochs_without_an_evaluation_are_passed_over(kind, options, caplog):
    model, (x, y) = classifier(kind), samples(24)
    more = {"validation_split": 1 / 3} if options == "split" else {"validation_data": (x, y)}
    tables = [WandbEvalTable((x, y), num_samples=1, freq=freq, table_key=f"by {freq}") for freq in (1, 2)]
    stopping = EarlyStopping("val_loss", patience=9)
    with caplog.at_level(logging.WARNING, "tf_hfwb"):
        model.fit(
            x, y, batch_size=24, epochs=5, callbacks=[WandbMetricsLogger(), *tables, stopping], verbose=0,
            validation_freq=2, **more,
        )  # fmt: skip
    directory = finish()
    assert [one["step"] for one in increments(directory, "by 1")] == [2, 4]
    assert [one["step"] for one in increments(directory, "by 2")] == [4]
    assert stopping.best_epoch == 1
    assert "is not known" not in caplog.text


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_training_that_goes_on_continues_the_table(kind):
    def fit(epochs, source=None):
        model, (x, y) = classifier(kind, learning_rate=0.1), samples(32)
        if source is not None:
            restore(model, source)
        logger, table = WandbMetricsLogger(), WandbEvalTable((x, y), num_samples=4)
        model.fit(
            x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0,
            callbacks=[logger, table, WandbModelCheckpoint("out", save_freq="epoch")],
        )  # fmt: skip
        current_tracker().finish()
        wandb.teardown()

    fit(3)
    fit(5, "out/checkpoint-8")  # The rows of step 12 are there already.
    fit(6, "out/checkpoint-20")
    folders = sorted(pathlib.Path("wandb").glob("offline-run-*"))
    assert len(folders) == 3
    found = [one for folder in folders for one in increments(folder)]
    assert [one["step"] for one in found] == [4, 8, 12, 16, 20, 24]
    assert [one["increment_num"] for one in found] == [0, 1, 2, 3, 4, 5]
    assert [len(one["previous_increments_paths"]) for one in found] == [0, 1, 2, 3, 4, 5]


def test_the_training_is_the_same_with_a_table():
    def weights(*callbacks):
        model, (x, y) = tiny.functional("tf_keras", dropout=0.3), tiny.named(samples(40))
        model.fit(x, y, batch_size=8, epochs=2, callbacks=list(callbacks), shuffle=False, verbose=0)
        return model.get_weights()

    bare = weights()
    watched = weights(WandbEvalTable(tiny.named(samples(10)), num_samples=5))
    finish()
    assert all(np.array_equal(one, other) for one, other in zip(bare, watched, strict=True))


def test_a_users_own_columns():
    def rows(inputs, labels, predictions):
        assert inputs.shape == (len(labels), 4)
        pixels = np.zeros((4, 4, 3), np.uint8)
        return [
            {"picture": pixels, "sure": float(one.max()), "label": int(label)}
            for one, label in zip(predictions, labels, strict=True)
        ]

    model, (x, y) = classifier("keras"), samples(16)
    model.fit(x, y, callbacks=[WandbEvalTable((x, y), num_samples=3, rows=rows, table_key="mine/own")], verbose=0)
    (found,) = increments(finish(), "mine/own")
    assert found["columns"] == ["train/global_step", "train/epoch", "picture", "sure", "label"]
    assert len(found["data"]) == 3
    assert found["data"][0][2]["_type"] == "image-file"
    types = found["column_types"]["params"]["type_map"]
    assert "number" in str(types["sure"])


def test_pictures_are_kept_while_they_are_shown():
    made = [np.full((4, 4, 3), shade, np.uint8) for shade in range(3)]
    kept, turn = made[0], iter(range(9))

    def rows(inputs, labels, predictions):
        return [{"new": made[next(turn) % 2 + 1].copy(), "same": kept}]

    model, (x, y) = classifier("keras"), samples(4)
    table = WandbEvalTable((x, y), num_samples=1, rows=rows)
    model.fit(x, y, epochs=4, callbacks=[table], verbose=0)
    assert len(increments(finish())) == 4
    assert len(table._table._pictures) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "num_samples=0"),
        ({"freq": 1.5}, r"freq=1\.5"),
        ({"max_bytes": True}, "max_bytes=True"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"table_key": ""}, "table_key=''"),
        ({"table_key": "k" * 200}, "table_key='kkk"),
        ({"rows": ["a"]}, "rows="),
        ({"class_names": "cat"}, "class_names='cat'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(SettingError, match=message):
        WandbEvalTable(samples(4), **arguments)


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ([1, 2, 3], {}, "A builtins.list was given as data"),
        ((np.zeros((3, 4)), np.zeros(2)), {}, "have the shapes"),
        (samples(4), {"rows": lambda *_: "no"}, "rows returned 'no'. Expected a list of dicts"),
        (samples(4), {"rows": lambda *_: [{"a": 1}, {"b": 1}]}, r"all with the same keys \['a'\]"),
        (samples(4), {"rows": lambda *_: 1 / 0}, "division by zero"),
    ],
)
def test_data_that_cannot_be_shown_is_an_error_before_training(dataset, options, message):
    model, (x, y) = classifier("keras"), samples(8)
    with pytest.raises((DataError, ZeroDivisionError), match=message):
        model.fit(x, y, callbacks=[WandbEvalTable(dataset, **options)], verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 0


def test_two_tables_of_one_name_are_an_error_before_training():
    model, (x, y) = classifier("keras"), samples(8)
    with pytest.raises(SettingError, match=r"table_key='sample_predictions'.*another one"):
        model.fit(x, y, callbacks=[WandbEvalTable((x, y)), WandbEvalTable((x, y))], verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 0


def test_raw_data_without_a_tokenizer_says_what_to_pass():
    raw = datasets.Dataset.from_dict({"text": ["a cat"], "label": [0]})
    model = tiny.bert()
    model.compile("sgd")
    data = tiny.classified().with_format("numpy")
    with pytest.raises(DataError, match=r"processing_class=None cannot prepare raw data.*no column 'input_ids'"):
        model.fit({"input_ids": np.array([[2, 3]])}, np.array([0]), callbacks=[WandbEvalTable(raw)], verbose=0)
    assert len(data)


def test_what_is_too_large_is_left_out_and_said_once(caplog):
    x = np.random.default_rng(0).integers(0, 255, (6, 20, 20)).astype("uint8")
    import keras

    model = keras.Sequential([keras.Input((20, 20)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    table = WandbEvalTable((x, np.zeros(6, "int64")), max_bytes=1000)
    with caplog.at_level(logging.WARNING, logger="tf_hfwb"):
        model.fit(x, np.zeros(6), epochs=2, callbacks=[table], verbose=0)
    found = increments(finish())
    assert [len(one["data"]) for one in found] == [2, 2]
    (said,) = [one.getMessage() for one in caplog.records if "max_bytes" in one.getMessage()]
    assert said == (
        "The table 'sample_predictions' holds 2 of 6 samples: more are larger than max_bytes=1000. Raise it, or choose "
        "fewer samples. This is said once."
    )
    image = found[0]["data"][0][found[0]["columns"].index("input")]
    assert image["_type"] == "image-file"
    assert (image["width"], image["height"]) == (20, 20)


def test_without_a_run_nothing_is_predicted(monkeypatch):
    monkeypatch.setenv("WANDB_DISABLED", "true")
    model, (x, y) = classifier("tf_keras"), samples(8)
    table = WandbEvalTable((x, y), rows=lambda *_: 1 / 0)
    with pytest.warns(FutureWarning, match="WANDB_DISABLED"):
        model.fit(x, y, callbacks=[table], verbose=0)


ELSEWHERE = """
import os, sys
import numpy as np
import tensorflow as tf
import tiny
import transformers
from helpers import samples
from tf_hfwb import WandbEvalTable, WandbMetricsLogger

strategy = tf.distribute.get_strategy()
if sys.argv[1] == "mirrored":
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
x, y = tiny.named(samples(14))
with strategy.scope():
    model = tiny.bert() if sys.argv[2] == "bert" else tiny.functional(sys.argv[2], dropout=0.2)
    if sys.argv[2] == "bert":
        model.compile("adam")
        data = tiny.classified(14)
        from tf_hfwb import training_batches
        train = training_batches(data, 8, model=model, processing_class=tiny.tokenizer(), num_epochs=2).dataset
        table = WandbEvalTable(data, processing_class=tiny.tokenizer(), num_samples=5)
        model.fit(train, epochs=2, steps_per_epoch=2, callbacks=[WandbMetricsLogger(), table], verbose=0)
    else:
        table = WandbEvalTable((x, y), num_samples=5)
        model.fit(x, y, batch_size=8, epochs=2, callbacks=[WandbMetricsLogger(), table], verbose=0)
import wandb
print(os.path.dirname(wandb.run.dir))
wandb.finish()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "kind"),
    [
        nightly("jax", "keras"),
        nightly("mirrored", "keras"),
        nightly("mirrored", "tf_keras"),
        nightly("mirrored", "bert"),
    ],
)
def test_on_jax_and_on_two_replicas(where, kind):
    pytest.importorskip("jax")
    backend = "jax" if where == "jax" else "tensorflow"
    directory = python("-c", ELSEWHERE, where, kind, KERAS_BACKEND=backend).stdout.splitlines()[-1]
    found = increments(directory)
    assert [one["step"] for one in found] == [2, 4]
    rows = rows_of(found)
    assert [row["example"] for row in rows] == [0, 1, 2, 3, 4] * 2
    assert [row["prediction"] for row in rows[:5]] != []
    assert all(0 < row["probability"] <= 1 and row["loss"] > 0 for row in rows)


def answered_questions():
    ids = tiny.texts(8)
    return ids.add_column("start_positions", [1] * 8).add_column("end_positions", [2] * 8)


def masked():
    ids = tiny.texts(8)["input_ids"]
    labels = [[-100, one[1], *[-100] * (len(one) - 2)] for one in ids]
    return datasets.Dataset.from_dict({"input_ids": [[one[0], 4, *one[2:]] for one in ids], "labels": labels})


def question_answering():
    config = transformers.BertConfig(vocab_size=tiny.VOCAB_SIZE, max_position_embeddings=32, **tiny.TEXT)
    return tiny.seeded(transformers.TFBertForQuestionAnswering, config)


def masked_language_model():
    config = transformers.BertConfig(vocab_size=tiny.VOCAB_SIZE, max_position_embeddings=32, **tiny.TEXT)
    return tiny.seeded(transformers.TFBertForMaskedLM, config)


JUDGED = ["label", "prediction", "probability", "loss", "correct"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "data", "columns"),
    [
        nightly(tiny.distilbert, tiny.tagged, ["text", *JUDGED]),
        (question_answering, answered_questions, ["question", *JUDGED]),
        nightly(masked_language_model, masked, ["text", *JUDGED]),
        nightly(tiny.gpt2, tiny.next_words, ["prompt", "label", "prediction", "loss"]),
        nightly(tiny.t5, tiny.answered, ["source", "label", "prediction", "loss"]),
        nightly(tiny.vit, tiny.pictures, ["image", *JUDGED]),
    ],
)
def test_each_task_in_a_run(make, data, columns):
    model, data, processing = make(), data(), tiny.tokenizer()
    table = WandbEvalTable(data, processing_class=processing, num_samples=3, **NEW_TOKENS.get(make, {}))
    args = TFTrainingArguments("out", max_steps=1, save_strategy="no", report_to="wandb", disable_tqdm=True)
    TFTrainer(model, args, train_dataset=data, processing_class=processing, callbacks=[table]).train()
    (found,) = increments(finish())
    assert found["step"] == 1
    assert found["columns"] == ["train/global_step", "train/epoch", "example", *columns]
    rows = rows_of([found])
    assert len(rows) == 3
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert all(row[name] is not None for row in rows for name in columns)


NEW_TOKENS = {tiny.gpt2: {"max_new_tokens": 4}, tiny.t5: {"max_new_tokens": 4}}
