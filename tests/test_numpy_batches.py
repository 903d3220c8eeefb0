"""Batches of NumPy arrays, element by element those that ``tf.data`` makes of the same data."""

from __future__ import annotations

import itertools

import datasets
import keras
import numpy as np
import pytest
import tensorflow as tf
import transformers
from helpers import nightly

from tf_hfwb.data import batches as batches_module
from tf_hfwb.data import evaluation_batches, stream_batches, training_batches
from tf_hfwb.data.index_shuffle import shuffled
from tf_hfwb.data.length_order import LengthGroupedOrder
from tf_hfwb.data.sample_order import Order
from tf_hfwb.errors import DataError

ROWS = [[2, 7, 3], [2, 8, 9, 10, 3], [2, 3], [2, 11, 12, 13, 14, 15, 16, 17, 3], [2, 9, 3]] * 3
NUMBER = len(ROWS)


@pytest.fixture(params=["right", "left"])
def tokenizer(request):
    from tokenizers import Tokenizer, models

    vocab = {f"w{n}": n for n in range(20)} | {"[PAD]": 20, "[UNK]": 21}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocab, unk_token="[UNK]")),
        unk_token="[UNK]",
        pad_token="[PAD]",
        padding_side=request.param,
    )


def in_numpy(make, *args, **kwargs):
    """The batches as they are made without TensorFlow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches_module, "has_tensorflow", lambda: False)
        return make(*args, **kwargs)


def assert_same_as_tf_data(data, make=training_batches, number=None, **options):
    graph, arrays = make(data, 4, **options), in_numpy(make, data, 4, **options)
    for name in ("steps_per_epoch", "num_samples", "fingerprint"):
        assert getattr(arrays, name) == getattr(graph, name)
    expected = list(itertools.islice(graph.dataset.as_numpy_iterator(), number))
    received = list(itertools.islice(arrays.dataset, number))
    assert expected
    assert len(received) == len(expected)
    for ours, theirs in zip(received, expected, strict=True):
        tf.nest.assert_same_structure(ours, theirs)
        for mine, other in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
            assert np.asarray(mine).dtype.kind == np.asarray(other).dtype.kind
            assert mine.dtype.kind in "UO" or mine.dtype == other.dtype
            np.testing.assert_array_equal(np.asarray(mine), other)


# Order


@pytest.mark.parametrize("number", [1, 2, 7, 1000, 65_535, 65_536, 65_537, 65_538, 131_073, 262_145, 10**6, 10**10])
def test_the_order_is_that_of_tensorflow(number):
    places = np.unique([*range(min(number, 300)), *np.linspace(0, number - 1, 200, dtype=np.int64)])
    for seed, epoch in [(0, 0), (42, 1), (-1, 300), (2**40 + 3, 70_000)]:
        first = Order(number, 8, seed=seed).indices(tf.constant(epoch * -(-number // 8), tf.int64)).numpy()
        assert shuffled(places[:8], seed, epoch, number)[: len(first)].tolist() == first.tolist()
        drawn = Order(number, number if number < 10**7 else 8, seed=seed)
        if number < 10**6:
            step = tf.constant(epoch, tf.int64)
            np.testing.assert_array_equal(shuffled(places, seed, epoch, number), drawn.indices(step).numpy()[places])


@pytest.mark.parametrize("number", [65_537, 262_145])
def test_every_sample_comes_once_where_tensorflows_own_shuffling_leaves_one_out(number):
    assert len(np.unique(tf.random.experimental.index_shuffle(tf.range(number), [1, 2], number - 1))) == number - 1
    order = Order(number, number, seed=1)
    assert (np.sort(order.indices(tf.constant(2, tf.int64)).numpy()) == np.arange(number)).all()
    assert (np.sort(order.indices_of(2)) == np.arange(number)).all()


@pytest.mark.parametrize("seed", [3, None])
@pytest.mark.parametrize("drop_remainder", [True, False])
def test_the_order_by_length_is_the_same(seed, drop_remainder):
    lengths = np.random.default_rng(0).integers(1, 9, 101)
    order = LengthGroupedOrder.of(lengths, 4, seed, drop_remainder, step_batches=2)
    for step in range(2 * order.steps_per_epoch):
        assert order.indices_of(step).tolist() == order.indices(tf.constant(step, tf.int64)).numpy().tolist()


# Batches


ARRAYS = {
    "x and y": (np.arange(26.0).reshape(13, 2), np.arange(13)),
    "x": np.arange(13, dtype=np.int8),
    "weights": (np.arange(13), np.ones(13, bool), np.linspace(0, 1, 13)),
    "nested": ({"b": np.arange(13), "a": (np.zeros((13, 2, 2), np.float16), np.arange(13))}, {"y": np.arange(13)}),
    "texts": (np.array([f"text {n}" for n in range(13)], object), np.arange(13)),
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize(
    "options",
    [
        {"num_epochs": 3},
        {"num_epochs": 3, "start_step": 5, "seed": 7},
        nightly({"number": 9, "start_step": 10**9, "drop_remainder": True}),
        {"shuffle": False, "number": 5},
    ],
    ids=str,
)
def test_arrays(kind, options):
    if kind == "texts":
        ours = in_numpy(training_batches, ARRAYS[kind], 4, num_epochs=1).dataset
        theirs = training_batches(ARRAYS[kind], 4, num_epochs=1).dataset.as_numpy_iterator()
        assert [[text.encode() for text in x] for x, _ in ours] == [x.tolist() for x, _ in theirs]
        return
    assert_same_as_tf_data(ARRAYS[kind], **options)


def test_evaluation_keeps_the_order_and_can_be_repeated():
    assert_same_as_tf_data(ARRAYS["x and y"], evaluation_batches)
    batches = in_numpy(evaluation_batches, ARRAYS["x"], 4).dataset
    assert [[len(x) for x in batches] for _ in range(2)] == [[4, 4, 4, 1]] * 2
    assert len(batches) == batches.num_batches == 4


def tokens(**columns) -> datasets.Dataset:
    masks = [[1] * len(row) for row in ROWS]
    return datasets.Dataset.from_dict({"input_ids": ROWS, "attention_mask": masks, "label": [0, 1, 2] * 5} | columns)


DATASETS = {
    "tokens": tokens,
    "no mask": lambda: tokens().remove_columns("attention_mask"),
    "labels for each token": lambda: tokens(labels=ROWS).remove_columns("label"),
    "choices": lambda: tokens(input_ids=[[row, row[::-1]] for row in ROWS]).remove_columns("attention_mask"),
    "fractions": lambda: tokens(x=[[[0.5, n]] for n in range(NUMBER)]),
    "selected": lambda: tokens().shuffle(seed=3).select(range(2, 12)),
}


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize(
    ("keep_in_memory", "options"),
    [
        (True, {"num_epochs": 2, "start_step": 1}),
        (False, {"num_epochs": 1, "pad_to_multiple_of": 4}),
        nightly(False, {"num_epochs": 2, "start_step": 1}),
        nightly(True, {"num_epochs": 1, "pad_to_multiple_of": 4}),
        *(nightly(memory, {"number": 5, "max_length": 11, "drop_remainder": True}) for memory in (True, False)),
        *(nightly(memory, {"num_epochs": 2, "group_by_length": True}) for memory in (True, False)),
    ],
    ids=str,
)
def test_columns(kind, keep_in_memory, options, tokenizer):
    data = DATASETS[kind]()
    if kind == "choices":
        options = {name: value for name, value in options.items() if name != "group_by_length"}
    assert_same_as_tf_data(data, processing_class=tokenizer, keep_in_memory=keep_in_memory, **options)


def test_grouped_by_length(tokenizer):
    assert_same_as_tf_data(tokens(), processing_class=tokenizer, group_by_length=True, num_epochs=2)


@pytest.mark.parametrize("num_workers", [0, 3])
def test_a_collator_that_draws_at_random(tokenizer, num_workers):
    tokenizer.mask_token = "w1"
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, return_tensors="np")
    options = {"data_collator": collator, "num_workers": num_workers, "prefetch_factor": 2}
    assert_same_as_tf_data(tokens().remove_columns("label"), num_epochs=3, start_step=2, **options)


def test_rows_that_a_transform_makes():
    def augment(rows):
        return {"x": [np.full(2, n) + np.random.random() for n in rows["n"]], "label": rows["n"]}

    data = datasets.Dataset.from_dict({"n": list(range(9))}).with_transform(augment)
    assert_same_as_tf_data(data, num_epochs=2)


def test_a_stream(monkeypatch):
    monkeypatch.setattr(stream_batches, "EXAMINED_ROWS", 8)
    data = datasets.Dataset.from_dict({"x": [[n, n] for n in range(2100)], "label": [0] * 2100}).to_iterable_dataset()
    assert_same_as_tf_data(data, number=540, start_step=20)
    batches = in_numpy(training_batches, data, 4)
    first = [x["x"].tolist() for x, _ in itertools.islice(batches.dataset, 4)]
    assert [batches.dataset[number][0]["x"].tolist() for number in (2, 3, 0, 1)] == [first[n] for n in (2, 3, 0, 1)]
    with pytest.raises(DataError, match=r"IterableDataset.* Expected an endless training.*from_generator"):
        in_numpy(evaluation_batches, data, 4)


def test_threads_make_batches_in_advance_and_in_order():
    seen = []

    def collate(rows):
        seen.append([row["n"] for row in rows])
        return {"n": np.array(seen[-1])}

    data = datasets.Dataset.from_dict({"n": list(range(40))})
    options = {"data_collator": collate, "num_workers": 2, "prefetch_factor": 3, "shuffle": False}
    batches = in_numpy(training_batches, data, 4, num_epochs=1, **options).dataset
    seen.clear()
    assert batches[0]["n"].tolist() == [0, 1, 2, 3]
    assert [batch["n"].tolist()[0] for batch in batches] == list(range(0, 40, 4))
    assert [batches[number]["n"].tolist()[0] for number in (7, 2, 9)] == [28, 8, 36]
    assert len(seen) < 30


def test_an_error_of_a_collator_reaches_the_training():
    def collate(rows):
        if any(row["n"] == 13 for row in rows):
            raise ValueError("no luck")
        return {"n": np.array([row["n"] for row in rows])}

    data = datasets.Dataset.from_dict({"n": [*range(13), *range(14, 40), 13, *range(41, 60)]})
    batches = in_numpy(evaluation_batches, data, 4, data_collator=collate, num_workers=2).dataset
    with pytest.raises(ValueError, match="no luck"):
        list(batches)


def test_what_cannot_be_used_is_refused_as_with_tensorflow():
    for data in (
        [1, 2],
        np.zeros(0),
        np.float32(1),
        (np.zeros(2), np.zeros(3)),
        np.array([None]),
        np.zeros(2, "M8[s]"),
    ):
        with pytest.raises(DataError) as theirs:
            training_batches(data, 2)
        with pytest.raises(DataError) as ours:
            in_numpy(training_batches, data, 2)
        assert str(ours.value) == str(theirs.value)
    with pytest.raises(DataError, match="no pad value is known"):
        in_numpy(training_batches, tokens(), 2)
    with pytest.raises(DataError, match=r"endless and have no length. Expected.*steps_per_epoch"):
        len(in_numpy(training_batches, np.zeros(3), 2).dataset)


# Keras


@pytest.mark.parametrize("num_epochs", [None, 2])
def test_keras_gets_them_in_their_order(num_epochs):
    seen = []

    class Recording(keras.Model):
        def train_step(self, data):
            tf.py_function(lambda x: seen.append(x.numpy().tolist()), [data[0]], [])
            return {"loss": 0.0}

    model = Recording()
    model.compile("sgd", run_eagerly=True)
    x = np.arange(13)
    expected = [batch.tolist() for batch, _ in training_batches((x, x), 4, num_epochs=2).dataset.as_numpy_iterator()]
    batches = in_numpy(training_batches, (x, x), 4, num_epochs=num_epochs)
    model.fit(batches.dataset, steps_per_epoch=4, epochs=2, verbose=0)  # With shuffle=True, which is Keras's default.
    assert seen == expected
    if num_epochs:
        seen.clear()
        model.fit(batches.dataset, verbose=0)
        assert seen == expected
