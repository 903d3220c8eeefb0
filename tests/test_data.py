"""Input pipelines: order, resume, padding against transformers' collators, real models, and each refusal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import tensorflow as tf
import transformers
from helpers import nightly, on_both

from tf_hfwb.data import evaluation_batches, training_batches
from tf_hfwb.data.sample_order import Order
from tf_hfwb.errors import DataError, SettingError

REPOSITORY = Path(__file__).parent.parent
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROWS = [[2, 7, 3], [2, 8, 9, 10, 3], [2, 3], [2, 11, 12, 13, 14, 15, 16, 17, 3], [2, 9, 3]]


@pytest.fixture
def make_tokenizer():
    """Builds a word tokenizer; its pad token is not 0, so that a wrong pad value shows."""

    def make(padding_side: str = "right", **options):
        from tokenizers import Tokenizer, models

        vocab = {token: index for index, token in enumerate([f"w{n}" for n in range(20)] + SPECIAL_TOKENS)}
        options = {"pad_token": "[PAD]", "mask_token": "[MASK]", "cls_token": "[CLS]", "sep_token": "[SEP]"} | options
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel(vocab, unk_token="[UNK]")),
            unk_token="[UNK]",
            padding_side=padding_side,
            **options,
        )
        tokenizer._pad_token_type_id = 1  # As XLNet has a value other than 0.
        return tokenizer

    return make


def text_dataset(**columns) -> datasets.Dataset:
    rows = {"text": [f"text {n}" for n in range(len(ROWS))], "input_ids": ROWS}
    rows["token_type_ids"] = [[0] * len(row) for row in ROWS]
    rows["attention_mask"] = [[1] * len(row) for row in ROWS]
    return datasets.Dataset.from_dict(rows | columns)


def numbers(**columns) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"x": [1, 2]} | columns)


def labels_of(batches) -> list[list]:
    return [labels.tolist() for _, labels in batches.dataset.as_numpy_iterator()]


def flat(lists) -> list:
    return [value for values in lists for value in values]


def assert_equal_batch(received: dict, expected: dict) -> None:
    assert set(received) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(received[name], value, err_msg=name)


# Order


@pytest.mark.parametrize("num_samples", [1, 2, 7, 64, 1000])
def test_every_sample_comes_once_in_each_epoch_and_epochs_differ(num_samples):
    x = np.arange(num_samples)
    batches = training_batches((x, x), 16, num_epochs=3)
    epochs = np.reshape(flat(labels_of(batches)), (3, num_samples))
    assert batches.steps_per_epoch == -(-num_samples // 16)
    assert (np.sort(epochs) == x).all()
    if num_samples > 6:
        assert len({tuple(epoch) for epoch in epochs}) == 3


def test_order_does_not_repeat_after_256_epochs_or_seeds():
    # TensorFlow's index_shuffle alone does: it keeps the low 8 bits of each word of its seed.
    first_steps = tf.constant([0, 256, 512], tf.int64)
    orders = {tuple(Order(50, 50, seed=seed).indices(step).numpy()) for seed in (0, 256, 2**32) for step in first_steps}
    assert len(orders) == 9


def test_each_position_is_equally_likely():
    order = Order(5, 5, seed=1)
    first = np.stack([order.indices(step).numpy()[0] for step in tf.range(500, dtype=tf.int64)])
    assert (abs(np.bincount(first) - 100) < 40).all()


@pytest.mark.nightly
def test_order_is_the_same_in_a_new_process():
    code = (
        "import numpy as np; from tf_hfwb.data import training_batches; x = np.arange(9);"
        "print(*[y for _, ys in training_batches((x, x), 4, num_epochs=2, seed=7).dataset for y in ys.numpy()])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    x = np.arange(9)
    assert [int(word) for word in printed.stdout.split()] == flat(
        labels_of(training_batches((x, x), 4, num_epochs=2, seed=7))
    )
    assert flat(labels_of(training_batches((x, x), 4, num_epochs=2, seed=8))) != flat(
        labels_of(training_batches((x, x), 4, num_epochs=2, seed=7))
    )


@pytest.mark.parametrize("start_step", [0, 1, 3, 4, 7, 9])
def test_start_step_continues_the_same_stream(start_step):
    x = np.arange(10)
    whole = labels_of(training_batches((x, x), 4, num_epochs=3))
    assert labels_of(training_batches((x, x), 4, num_epochs=3, start_step=start_step)) == whole[start_step:]


def test_a_late_start_is_as_quick_as_an_early_one_and_endless():
    x = np.arange(10)
    batches = training_batches((x, x), 4, start_step=3_000_000)
    order = Order(10, 4, seed=42)
    received = [labels.tolist() for _, labels in batches.dataset.take(2).as_numpy_iterator()]
    assert received == [order.indices(tf.constant(step, tf.int64)).numpy().tolist() for step in (3_000_000, 3_000_001)]
    assert batches.dataset.cardinality() == tf.data.INFINITE_CARDINALITY


def test_drop_remainder_leaves_out_the_partial_batch_and_fixes_the_shape():
    x = np.arange(10)
    batches = training_batches((x, x), 4, num_epochs=2, drop_remainder=True)
    assert batches.steps_per_epoch == 2
    assert [len(labels) for labels in labels_of(batches)] == [4] * 4
    assert batches.dataset.element_spec[1].shape == (4,)


def test_no_shuffle_and_evaluation_keep_the_order():
    x = np.arange(5)
    assert labels_of(training_batches((x, x), 2, num_epochs=2, shuffle=False)) == [[0, 1], [2, 3], [4]] * 2
    assert labels_of(evaluation_batches((x, x), 2)) == [[0, 1], [2, 3], [4]]


# Arrays


def test_arrays_keep_their_structure_types_and_weights():
    x = {"a": np.arange(6.0).reshape(3, 2), "b": (tf.range(3), np.array(["p", "q", "r"]))}
    batches = evaluation_batches((x, np.arange(3, dtype=np.int8), np.ones(3)), 2)
    inputs, labels, weights = next(batches.dataset.as_numpy_iterator())
    assert inputs["a"].tolist() == [[0, 1], [2, 3]]
    assert inputs["a"].dtype == weights.dtype == np.float32
    assert inputs["b"][0].tolist() == [0, 1]
    assert inputs["b"][1].tolist() == [b"p", b"q"]
    assert labels.dtype == np.int8
    assert batches.num_samples == 3


def test_array_alone_gives_inputs_only():
    assert [x.tolist() for x in evaluation_batches(np.arange(3), 2).dataset.as_numpy_iterator()] == [[0, 1], [2]]
    assert [x.tolist() for x in evaluation_batches((np.arange(3),), 2).dataset.as_numpy_iterator()] == [[0, 1], [2]]


def test_fingerprint_follows_the_content():
    x, words = np.arange(10.0), np.array(list("abcdefghij"))
    fingerprint = evaluation_batches((x, words), 2).fingerprint
    assert evaluation_batches((x.copy(), words.copy()), 2).fingerprint == fingerprint
    assert evaluation_batches((x + 1, words), 2).fingerprint != fingerprint
    dataset = numbers()
    assert evaluation_batches(dataset, 2).fingerprint == dataset._fingerprint


# Columns of a datasets.Dataset


def test_rows_of_any_layout_are_read():
    features = datasets.Features(
        {
            "int8": datasets.Value("int8"),
            "uint64": datasets.Value("uint64"),
            "bool": datasets.Value("bool"),
            "float16": datasets.Value("float16"),
            "float64": datasets.Value("float64"),
            "fixed": datasets.Sequence(datasets.Value("float32"), length=2),
            "large": datasets.LargeList(datasets.Value("int16")),
            "image": datasets.Array2D((2, 2), "float32"),
            "nested": datasets.Sequence(datasets.Sequence(datasets.Value("int64"))),
        }
    )
    columns = {
        "int8": [1, -2, 3, 4],
        "uint64": [1, 2, 3, 4],
        "bool": [True, False, True, False],
        "float16": [0.5, 1.5, 2.5, 3.5],
        "float64": [0.1, 0.2, 0.3, 0.4],
        "fixed": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]],
        "large": [[1, 2], [3, 4], [5, 6], [7, 8]],
        "image": np.arange(16.0).reshape(4, 2, 2),
        "nested": [[[1], [2]], [[3], [4]], [[5], [6]], [[7], [8]]],
    }
    dataset = datasets.Dataset.from_dict(columns, features=features)
    chunked = datasets.concatenate_datasets([dataset.select(range(2)), dataset.select([3, 2])]).with_format("numpy")
    (batch,) = evaluation_batches(chunked, 4).dataset.as_numpy_iterator()
    assert set(batch) == set(columns)
    for name, rows in columns.items():
        assert batch[name].dtype == (np.float32 if np.asarray(rows).dtype.kind == "f" else np.int64)
        np.testing.assert_allclose(batch[name], np.asarray(rows)[[0, 1, 3, 2]], rtol=1e-6, err_msg=name)


def test_selected_shuffled_and_saved_rows_keep_the_datasets_order(tmp_path):
    dataset = datasets.Dataset.from_dict({"x": list(range(20)), "rows": [[n] * 3 for n in range(20)]})
    shuffled = dataset.shuffle(seed=3).select(range(5, 15)).filter(lambda row: row["x"] % 3 > 0)
    shuffled.save_to_disk(tmp_path / "saved")
    for data in (shuffled, datasets.load_from_disk(tmp_path / "saved"), shuffled.with_format("tensorflow")):
        batches = list(evaluation_batches(data, 4).dataset.as_numpy_iterator())
        assert flat(batch["x"].tolist() for batch in batches) == shuffled["x"][:]
        assert flat(batch["rows"].tolist() for batch in batches) == shuffled["rows"][:]


def test_columns_outside_the_format_are_not_used():
    dataset = datasets.Dataset.from_dict({"a": [1, 2], "b": [3, 4]})
    dataset.set_format("numpy", columns=["a"])
    assert list(next(iter(evaluation_batches(dataset, 2).dataset))) == ["a"]


def test_training_on_columns_resumes_and_shuffles_like_arrays():
    dataset = datasets.Dataset.from_dict({"x": list(range(10)), "label": list(range(10))})
    x = np.arange(10)
    for start_step in (0, 4):
        options = {"num_epochs": 2, "start_step": start_step, "seed": 5}
        assert labels_of(training_batches(dataset, 4, **options)) == labels_of(training_batches((x, x), 4, **options))


# Padding, against transformers' own collators


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("multiple", [None, 8])
@pytest.mark.parametrize("equal_lengths", [False, True])
def test_padding_equals_data_collator_with_padding(make_tokenizer, padding_side, multiple, equal_lengths):
    tokenizer = make_tokenizer(padding_side)
    dataset = text_dataset(
        special_tokens_mask=[[int(token < 4) for token in row] for row in ROWS], label=[0, 1, 0, 1, 1]
    ).remove_columns("text")
    if equal_lengths:
        dataset = dataset.map(lambda row: {k: v[:2] if isinstance(v, list) else v for k, v in row.items()})
    collator = transformers.DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple, return_tensors="np")
    batches = evaluation_batches(dataset, 2, processing_class=tokenizer, pad_to_multiple_of=multiple)
    assert batches.steps_per_epoch == 3
    for start, (inputs, labels) in zip(range(0, 5, 2), batches.dataset.as_numpy_iterator(), strict=True):
        rows = [dataset[index] for index in range(start, min(start + 2, 5))]
        assert_equal_batch({**inputs, "labels": labels}, dict(collator(rows)))


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("multiple", [None, 8])
@pytest.mark.parametrize("equal_lengths", [False, True])
def test_token_labels_are_padded_like_the_tokens(make_tokenizer, padding_side, multiple, equal_lengths):
    tokenizer = make_tokenizer(padding_side)
    rows = [row[:2] for row in ROWS] if equal_lengths else ROWS
    columns = {"input_ids": rows, "labels": [[n % 3 for n in row] for row in rows]}
    narrow = datasets.Sequence(datasets.Value("uint8"))  # No room for -100.
    features = datasets.Features({"input_ids": narrow, "labels": narrow})
    parts = [{name: values[part] for name, values in columns.items()} for part in (slice(2), slice(2, 5))]
    dataset = datasets.concatenate_datasets([datasets.Dataset.from_dict(part, features) for part in parts])
    assert dataset.data.column("labels").num_chunks == 2
    collator = transformers.DataCollatorForTokenClassification(
        tokenizer, pad_to_multiple_of=multiple, return_tensors="np"
    )
    batches = evaluation_batches(dataset, 5, processing_class=tokenizer, pad_to_multiple_of=multiple)
    ((inputs, labels),) = batches.dataset.as_numpy_iterator()
    assert_equal_batch({**inputs, "labels": labels}, collator([dataset[index] for index in range(5)]))


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("multiple", [None, 8])
def test_sequence_labels_are_padded_by_themselves(make_tokenizer, padding_side, multiple):
    tokenizer = make_tokenizer(padding_side)
    dataset = datasets.Dataset.from_dict({"input_ids": ROWS, "labels": [row[1:] for row in reversed(ROWS)]})
    collator = transformers.DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=multiple, return_tensors="np")
    batches = evaluation_batches(dataset, 5, processing_class=tokenizer, pad_to_multiple_of=multiple)
    ((inputs, labels),) = batches.dataset.as_numpy_iterator()
    assert_equal_batch({**inputs, "labels": labels}, dict(collator([dataset[index] for index in range(5)])))


def test_choices_are_padded_along_the_tokens(make_tokenizer):
    choices = [[[5, 6], [7]], [[8], [9, 10, 11]], [[1], [2]]]
    dataset = datasets.Dataset.from_dict({"input_ids": choices, "label": [0, 1, 0]})
    batches = evaluation_batches(dataset, 2, processing_class=make_tokenizer())
    (inputs, labels), _ = batches.dataset.as_numpy_iterator()
    assert inputs["input_ids"].tolist() == [[[5, 6, 20], [7, 20, 20]], [[8, 20, 20], [9, 10, 11]]]
    np.testing.assert_array_equal(inputs["attention_mask"], inputs["input_ids"] != 20)
    assert labels.tolist() == [0, 1]


def test_empty_rows_become_padding(make_tokenizer):
    dataset = datasets.Dataset.from_dict({"input_ids": [[], [5], [6, 7]]})
    ((first, second)) = evaluation_batches(dataset, 2, processing_class=make_tokenizer()).dataset.as_numpy_iterator()
    assert first["input_ids"].tolist() == [[20], [5]]
    assert second["input_ids"].tolist() == [[6, 7]]


def test_attention_mask_follows_the_tokenizer_and_the_model(make_tokenizer):
    dataset = text_dataset().remove_columns("attention_mask")
    tokenizer = make_tokenizer(model_input_names=["input_ids"])
    assert set(next(iter(evaluation_batches(dataset, 2, processing_class=make_tokenizer()).dataset))) == {
        "input_ids",
        "token_type_ids",
        "attention_mask",
    }
    assert "attention_mask" not in next(iter(evaluation_batches(dataset, 2, processing_class=tokenizer).dataset))


# A data collator


def test_collator_sees_the_same_stream(make_tokenizer):
    tokenizer = make_tokenizer("left")
    dataset = text_dataset(label=[0, 1, 2, 3, 4])
    collator = transformers.DataCollatorWithPadding(tokenizer, return_tensors="np")
    options = {"num_epochs": 3, "start_step": 2}
    by_collator = training_batches(dataset, 2, data_collator=lambda rows: collator(rows), **options)
    in_graph = training_batches(dataset, 2, processing_class=tokenizer, **options)
    assert by_collator.dataset.element_spec == in_graph.dataset.element_spec
    assert (by_collator.steps_per_epoch, by_collator.fingerprint) == (in_graph.steps_per_epoch, in_graph.fingerprint)
    pairs = list(zip(by_collator.dataset.as_numpy_iterator(), in_graph.dataset.as_numpy_iterator(), strict=True))
    assert len(pairs) == 7
    for (inputs, labels), (expected_inputs, expected_labels) in pairs:
        assert_equal_batch(inputs, expected_inputs)
        assert labels.tolist() == expected_labels.tolist()


def test_collator_may_add_labels_and_read_the_special_tokens_mask(make_tokenizer):
    tokenizer = make_tokenizer()
    model = tiny_bert(transformers.TFBertForMaskedLM)
    dataset = text_dataset(special_tokens_mask=[[1] * len(row) for row in ROWS])
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.9, return_tensors="np")
    inputs, labels = next(
        evaluation_batches(dataset, 5, model=model, data_collator=collator).dataset.as_numpy_iterator()
    )
    assert (labels == -100).all()  # Nothing but special tokens: nothing is masked.
    assert set(inputs) == {"input_ids", "token_type_ids", "attention_mask"}


def test_collator_gets_transformed_and_raw_rows(make_tokenizer):
    tokenizer = make_tokenizer()
    model = tiny_bert(transformers.TFBertForSequenceClassification)

    def tokenise(texts):
        return {"input_ids": np.array([[len(text), 1] for text in texts])}

    raw = datasets.Dataset.from_dict({"text": ["a", "bcd"], "label": [0, 1]})
    transformed = raw.with_transform(lambda batch: {**tokenise(batch["text"]), "label": batch["label"]})
    on_access = evaluation_batches(
        transformed, 2, model=model, data_collator=transformers.DataCollatorWithPadding(tokenizer, return_tensors="np")
    )
    in_collator = evaluation_batches(
        raw,
        2,
        model=model,
        remove_unused_columns=False,
        data_collator=lambda rows: {**tokenise([r["text"] for r in rows]), "labels": [r["label"] for r in rows]},
    )
    for batches in (on_access, in_collator):
        inputs, labels = next(batches.dataset.as_numpy_iterator())
        assert inputs["input_ids"].tolist() == [[1, 1], [3, 1]]
        assert labels.tolist() == [0, 1]


# tf.data


def test_tf_data_keeps_its_batches_and_resumes():
    data = tf.data.Dataset.range(5).batch(2)
    whole = [[0, 1], [2, 3], [4]] * 3
    for start_step in (0, 1, 3, 5, 9):
        batches = training_batches(data, 99, num_epochs=3, start_step=start_step)
        assert [batch.tolist() for batch in batches.dataset.as_numpy_iterator()] == whole[start_step:]
        assert (batches.steps_per_epoch, batches.num_samples, batches.fingerprint) == (3, None, None)
    endless = training_batches(data, 99, start_step=4).dataset
    assert [batch.tolist() for batch in endless.take(4).as_numpy_iterator()] == [[2, 3], [4], [0, 1], [2, 3]]
    assert [batch.tolist() for batch in evaluation_batches(data, 99).dataset.as_numpy_iterator()] == whole[:3]


def test_tf_data_without_a_length_is_not_repeated():
    data = tf.data.Dataset.range(6).filter(lambda x: x > 0).batch(2)
    batches = training_batches(data, 2, num_epochs=5, start_step=1)
    assert batches.steps_per_epoch is None
    assert [batch.tolist() for batch in batches.dataset.as_numpy_iterator()] == [[3, 4], [5]]
    assert evaluation_batches(data, 2).steps_per_epoch is None


# Real models


def tiny_bert(model_class):
    config = transformers.BertConfig(
        vocab_size=25, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=3
    )
    return model_class(config)


def distilbert():
    config = transformers.DistilBertConfig(vocab_size=25, dim=8, n_layers=1, n_heads=2, hidden_dim=8)
    return transformers.TFDistilBertForQuestionAnswering(config)


def token_bert():
    return tiny_bert(transformers.TFBertForTokenClassification)


def sequence_bert():
    return tiny_bert(transformers.TFBertForSequenceClassification)


def gpt2():
    config = transformers.GPT2Config(vocab_size=25, n_embd=8, n_layer=1, n_head=2, n_positions=32)
    return transformers.TFGPT2LMHeadModel(config)


def t5():
    config = transformers.T5Config(vocab_size=25, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    config.decoder_start_token_id = 20
    return transformers.TFT5ForConditionalGeneration(config)


@pytest.mark.parametrize(
    ("make_model", "labels", "side"),
    [
        nightly(sequence_bert, {"label": [0, 1, 2, 1, 0]}, "right"),
        (token_bert, {"labels": [[n % 3 for n in row] for row in ROWS]}, "right"),
        nightly(distilbert, {"start_positions": [0, 1, 0, 2, 1], "end_positions": [1, 2, 1, 3, 2]}, "right"),
        nightly(gpt2, {"labels": ROWS}, "left"),
        nightly(t5, {"labels": [row[1:] for row in reversed(ROWS)]}, "right"),
    ],
)
def test_transformers_models_train_and_evaluate(make_tokenizer, make_model, labels, side):
    model, tokenizer = make_model(), make_tokenizer(side)
    model.compile("sgd")
    options = {"model": model, "processing_class": tokenizer}
    batches = training_batches(text_dataset(**labels), 2, **options)
    history = model.fit(batches.dataset, steps_per_epoch=batches.steps_per_epoch, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert np.isfinite(model.evaluate(evaluation_batches(text_dataset(**labels), 2, **options).dataset, verbose=0))


def test_transformers_models_predict_with_and_without_labels(make_tokenizer):
    model = sequence_bert()
    options = {"model": model, "processing_class": make_tokenizer()}
    for dataset in (text_dataset(label=[0, 1, 2, 1, 0]), text_dataset()):
        predictions = model.predict(evaluation_batches(dataset, 2, **options).dataset, verbose=0)
        assert predictions.logits.shape == (5, 3)


@pytest.mark.nightly
def test_image_model_trains():
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=4, patch_size=2
    )
    model = transformers.TFViTForImageClassification(config)
    model.compile("sgd")
    images = np.random.default_rng(0).random((4, 3, 4, 4))
    dataset = datasets.Dataset.from_dict({"pixel_values": images, "label": [0, 1, 0, 1], "image_id": list("abcd")})
    batches = training_batches(dataset, 2, model=model)
    assert batches.dataset.element_spec[0]["pixel_values"].shape == (2, 3, 4, 4)
    history = model.fit(batches.dataset, steps_per_epoch=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize(
    ("library", "kind"),
    on_both(["sequential", "unbuilt", "functional", "two_inputs", "dict_input"], "unbuilt", "dict_input"),
)
def test_keras_models_train_evaluate_and_predict(library, kind):
    keras = pytest.importorskip(library)
    x, y = keras.Input((2,), name="x"), keras.Input((2,), name="y")
    dense = keras.layers.Dense(1)
    model = {
        "sequential": lambda: keras.Sequential([keras.Input((2,)), dense]),
        "unbuilt": lambda: keras.Sequential([dense]),
        "functional": lambda: keras.Model(x, dense(x)),
        "two_inputs": lambda: keras.Model([x, y], dense(keras.layers.Add()([x, y]))),
        "dict_input": lambda: keras.Model({"x": x}, dense(x)),
    }[kind]()
    model.compile("sgd", "mse")
    columns = {"x": [[1.0, 2.0]] * 5, "y": [[0.5, 0.5]] * 5, "label": [0.0, 1.0, 0.0, 1.0, 0.0], "note": list("abcde")}
    dataset = datasets.Dataset.from_dict(columns)
    if kind in ("sequential", "unbuilt"):
        dataset = dataset.remove_columns("y")
    batches = training_batches(dataset, 2, model=model)
    model.fit(batches.dataset, steps_per_epoch=batches.steps_per_epoch, epochs=2, shuffle=False, verbose=0)
    evaluation = evaluation_batches(dataset, 2, model=model).dataset
    assert np.isfinite(model.evaluate(evaluation, verbose=0))
    assert model.predict(evaluation, verbose=0).shape == (5, 1)


def test_label_names_and_unused_columns():
    dataset = datasets.Dataset.from_dict({"x": [1.0, 2.0], "target": [3, 4], "weight": [5, 6], "label": [7, 8]})
    inputs, labels = next(evaluation_batches(dataset, 2, label_names=["target", "weight"]).dataset.as_numpy_iterator())
    assert {name: value.tolist() for name, value in labels.items()} == {"target": [3, 4], "weight": [5, 6]}
    assert set(inputs) == {"x", "label"}
    bert = sequence_bert()
    dataset = text_dataset(extra=[1] * 5).select([0, 4])
    assert "extra" not in next(iter(evaluation_batches(dataset, 2, model=bert).dataset))
    dataset = dataset.remove_columns("text")
    assert "extra" in next(iter(evaluation_batches(dataset, 2, model=bert, remove_unused_columns=False).dataset))
    with pytest.raises(SettingError, match=r"label_names=\['labels', 'input_ids'\] .* as input_ids is"):
        evaluation_batches(dataset, 2, model=bert, label_names=["labels", "input_ids"])


# Refusals: what was received, what was expected, what to do


REFUSALS = {
    "batch_size": (lambda: training_batches(np.arange(3), 0), r"batch_size=0 .* integer >= 1"),
    "batch_size_type": (lambda: evaluation_batches(np.arange(3), 2.5), r"batch_size=2\.5"),
    "num_epochs": (lambda: training_batches(np.arange(3), 1, num_epochs=0), r"num_epochs=0"),
    "start_step": (lambda: training_batches(np.arange(3), 1, start_step=-1), r"start_step=-1"),
    "multiple": (lambda: training_batches(numbers(), 1, pad_to_multiple_of=0), r"pad_to_multiple_of=0"),
    "behind_the_end": (
        lambda: training_batches(np.arange(3), 1, num_epochs=2, start_step=7),
        r"start_step=7 .* at most 6: 2 epochs of 3 steps",
    ),
    "drop_remainder": (
        lambda: training_batches(np.arange(3), 4, drop_remainder=True),
        r"there are 3 samples and batch_size is 4.*Lower batch_size",
    ),
    "unequal_arrays": (
        lambda: training_batches((np.zeros((3, 2)), np.zeros(2)), 1),
        r"\(3, 2\), \(2,\).*one number of samples",
    ),
    "empty_array": (lambda: training_batches(np.zeros((0, 2)), 1), r"\(0, 2\).*at least 1"),
    "scalar": (lambda: training_batches(np.float32(1), 1), r"shapes \[\(\)\]"),
    "lists": (lambda: training_batches([[1, 2], [3]], 1), r"builtins\.list .*numpy\.asarray.*Dataset\.from_dict"),
    "nested_list": (lambda: training_batches(({"a": [1, 2]}, np.arange(2)), 1), r"builtins\.list"),
    "objects": (lambda: training_batches(np.array([[1], [2, 3]], object), 1), r"type object .*Dataset\.from_dict"),
    "four": (lambda: training_batches((np.arange(2),) * 4, 1), r"tuple of 4 .*\(\(x1, x2\), y\)"),
    "unknown": (lambda: training_batches("train.csv", 1), r"builtins\.str .*Expected a datasets\.Dataset"),
    "splits": (
        lambda: training_batches(datasets.DatasetDict(test=numbers()), 1),
        r"DatasetDict with the splits \['test'\].*data\['test'\]",
    ),
    "no_rows": (lambda: training_batches(numbers().select([]), 1), r"no rows .*\['x'\]"),
    "untokenised": (
        lambda: training_batches(datasets.Dataset.from_dict({"text": ["a"], "label": [0]}), 1, model=sequence_bert()),
        r"\['text', 'label'\].*\['input_ids', 'attention_mask', .*dataset\.map\(lambda batch: tokenizer\(batch",
    ),
    "untokenised_no_model": (
        lambda: training_batches(datasets.Dataset.from_dict({"text": ["a"], "label": [0]}), 1),
        r"\['text', 'label'\].*columns of numbers.*Tokenise first",
    ),
    "untokenised_collator": (
        lambda: training_batches(
            datasets.Dataset.from_dict({"text": ["a"], "label": [0]}), 1, model=sequence_bert(), data_collator=dict
        ),
        r"\['text', 'label'\].*remove_unused_columns=False",
    ),
    "text_column": (
        lambda: training_batches(numbers(text=["a", "b"]), 1, remove_unused_columns=False),
        r"Column 'text' does not hold numbers.*remove_columns\('text'\)",
    ),
    "string_labels": (
        lambda: training_batches(numbers(label=["a", "b"]), 1),
        r"Label column 'label' .*class_encode_column\('label'\)",
    ),
    "missing_labels": (
        lambda: training_batches(numbers(label=[1, None]), 1),
        r"Label column 'label' has 1 rows without.*filter",
    ),
    "no_labels": (lambda: training_batches(numbers(label=[-1, -1]), 1), r"-1 in all 2 rows.*remove_columns\('label'\)"),
    "no_labels_collator": (
        lambda: training_batches(numbers(label=[-1, -1]), 1, data_collator=dict),
        r"-1 in all 2 rows",
    ),
    "two_labels": (
        lambda: training_batches(numbers(label=[1, 2], labels=[1, 2]), 1),
        r"\['label', 'labels'\] are the same",
    ),
    "nulls": (lambda: training_batches(numbers(y=[[1], [None]]), 1), r"Column 'y' has 1 missing"),
    "empty_column": (
        lambda: training_batches(numbers(y=[[], []]).cast_column("y", datasets.Sequence(datasets.Value("int32"))), 1),
        r"'y' is empty in every row",
    ),
    "doubly_ragged": (
        lambda: training_batches(numbers(y=[[[1], [2, 3]], [[4]]]), 1),
        r"'y' .* vary in length at 2 levels",
    ),
    "no_pad_value": (
        lambda: training_batches(text_dataset(), 1),
        r"Column 'input_ids' has rows of 2 to 9 values.*Pass processing_class=tokenizer",
    ),
    "transform": (
        lambda: training_batches(text_dataset().with_transform(dict), 1),
        r"transform of the dataset, or data_collator, failed on rows \[0, 1, 2, 3, 4\].*processing_class=tokenizer",
    ),
    "collator_fails": (
        lambda: training_batches(numbers(), 1, data_collator=lambda rows: rows[0]["y"]),
        r"failed on rows \[0, 1\] with the columns \['x'\] .*return_tensors",
    ),
    "collator_ranks": (
        lambda: training_batches(numbers(), 1, data_collator=lambda rows: {"x": np.zeros((1,) * len(rows))}),
        r"'x' with \[1, 2\] axes",
    ),
    "unbatched": (lambda: training_batches(tf.data.Dataset.range(3), 1), r"shapes \['\(\)'\].*dataset\.batch"),
    "unbatched_pair": (
        lambda: training_batches(tf.data.Dataset.from_tensor_slices((np.zeros((4, 28)), np.zeros((4, 10)))), 1),
        r"'\(28,\)', '\(10,\)'",
    ),
    "empty_tf_data": (lambda: training_batches(tf.data.Dataset.range(0).batch(1), 1), r"is empty"),
    "endless_evaluation": (
        lambda: evaluation_batches(tf.data.Dataset.range(1).batch(1).repeat(), 1),
        r"endless.*take\(n\)",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_say_what_to_do(case):
    call, message = REFUSALS[case]
    with pytest.raises(DataError, match=message):
        call()


def test_refusals_that_need_a_tokenizer(make_tokenizer):
    with pytest.raises(DataError, match=r"no pad token.*tokenizer\.pad_token = tokenizer\.eos_token"):
        training_batches(text_dataset(), 1, processing_class=make_tokenizer(pad_token=None))
    with pytest.raises(DataError, match=r"'spans' .*no pad value is known"):
        training_batches(text_dataset(spans=ROWS), 1, processing_class=make_tokenizer())
    with pytest.raises(DataError, match=r"'input_ids' and 'attention_mask' have rows of different lengths"):
        training_batches(text_dataset(attention_mask=[[1]] * 5), 1, processing_class=make_tokenizer())


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_keras_models_name_the_missing_inputs(library):
    keras = pytest.importorskip(library)
    x, y = keras.Input((1,), name="x"), keras.Input((1,), name="y")
    two_inputs = keras.Model([x, y], keras.layers.Add()([x, y]))
    with pytest.raises(DataError, match=r"inputs \['y'\] are missing in the columns \['x', 'z'\].*\['x', 'y'\]"):
        training_batches(numbers(z=[1, 2]), 1, model=two_inputs)
    with pytest.raises(DataError, match=r"one input, 'y', and the data the columns \['x', 'z'\]"):
        training_batches(numbers(z=[1, 2]), 1, model=keras.Model(y, keras.layers.Dense(1)(y)))


# The environment


def test_importing_loads_no_framework():
    code = (
        "import sys, tf_hfwb.data;"
        "print({'tensorflow', 'keras', 'tf_keras', 'datasets', 'transformers'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert printed.stdout.strip() == "set()"


REPLICAS = """
import datasets, numpy as np, tensorflow as tf, tf_keras
from tf_hfwb.data import training_batches
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
dataset = datasets.Dataset.from_dict({"x": [[float(n)] * (1 + n % 3) for n in range(10)], "label": list(range(10))})
dataset = dataset.rename_column("x", "input_ids")
class Tokenizer:
    pad_token_id, pad_token_type_id, padding_side, model_input_names = -1, 0, "right", ["input_ids"]
for collator in (None, lambda rows: {"input_ids": np.zeros((len(rows), 1)), "labels": [row["label"] for row in rows]}):
    batches = training_batches(dataset, 4, processing_class=Tokenizer(), data_collator=collator, num_epochs=2)
    seen, sizes = [], []
    for inputs, labels in strategy.experimental_distribute_dataset(batches.dataset):
        values = strategy.experimental_local_results(labels)
        sizes.append([len(value) for value in values])
        seen += [int(label) for value in values for label in value]
    assert sorted(seen) == sorted([*range(10)] * 2), seen
    assert sizes == [[2, 2], [2, 2], [1, 1]] * 2, sizes
with strategy.scope():
    model = tf_keras.Sequential([tf_keras.layers.Dense(1)])
    model.compile("sgd", "mse")
batches = training_batches((np.ones((10, 2)), np.ones(10)), 4)
loss = model.fit(batches.dataset, steps_per_epoch=batches.steps_per_epoch, epochs=2, verbose=0).history["loss"]
assert np.isfinite(loss).all()
print("done")
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_two_replicas_share_every_batch(launcher):
    assert launcher.python(REPLICAS).stdout.strip() == "done"
