"""Data that is larger than what is kept in memory: the same batches, read from the Arrow files one by one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tiny
import transformers
from helpers import nightly

from tf_hfwb.data import evaluation_batches, stored_source, training_batches
from tf_hfwb.errors import DataError

REPOSITORY = Path(__file__).parent.parent


def tokenizer(side: str = "right") -> transformers.PreTrainedTokenizerFast:
    return tiny.tokenizer(padding_side=side)


def ragged_choices(number: int = 11) -> datasets.Dataset:
    random = np.random.default_rng(0)
    rows = [[[5] * random.integers(1, 6) for _ in range(3)] for _ in range(number)]
    return datasets.Dataset.from_dict({"input_ids": rows, "label": [n % 3 for n in range(number)]})


def equal_lengths() -> datasets.Dataset:
    tokens = np.arange(77, dtype=np.int32).reshape(11, 7)
    return datasets.Dataset.from_dict({"input_ids": tokens, "attention_mask": np.ones_like(tokens), "label": range(11)})


def plain_numbers() -> datasets.Dataset:
    random = np.random.default_rng(0)
    columns = {"x": random.normal(size=(11, 4)), "b": [n % 2 == 0 for n in range(11)], "label": np.arange(11.0)}
    return datasets.Dataset.from_dict(columns)


def array_features() -> datasets.Dataset:
    features = datasets.Features(
        {"pixel_values": datasets.Array3D((3, 4, 4), "uint8"), "labels": datasets.Value("int8")}
    )
    pixels = np.arange(11 * 48, dtype=np.uint8).reshape(11, 3, 4, 4)
    return datasets.Dataset.from_dict({"pixel_values": pixels, "labels": range(11)}, features=features)


def both(data, batch_size=4, **options) -> list:
    options = {"num_epochs": 2, "processing_class": tokenizer()} | options
    return [training_batches(data, batch_size, keep_in_memory=kept, **options) for kept in (True, False)]


def assert_equal_streams(in_memory, stored) -> None:
    assert stored.dataset.element_spec == in_memory.dataset.element_spec
    for name in ("steps_per_epoch", "num_samples", "fingerprint"):
        assert getattr(stored, name) == getattr(in_memory, name)
    pairs = list(zip(in_memory.dataset, stored.dataset, strict=True))
    assert pairs
    for expected, received in pairs:
        tf.nest.assert_same_structure(expected, received)
        for one, other in zip(tf.nest.flatten(expected), tf.nest.flatten(received), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


MAKES = [tiny.classified, tiny.tagged, tiny.answered, ragged_choices, equal_lengths, plain_numbers, array_features]


@pytest.mark.parametrize("make", MAKES)
def test_the_batches_are_those_of_data_in_memory(make):
    assert_equal_streams(*both(make()))


@pytest.mark.parametrize(
    ("make", "widths", "side"),
    [
        (tiny.tagged, {"pad_to_multiple_of": 8}, "left"),
        (tiny.tagged, {"max_length": 20}, "right"),
        (equal_lengths, {"pad_to_multiple_of": 8}, "right"),
        (equal_lengths, {"max_length": 20}, "left"),
        nightly(tiny.tagged, {"pad_to_multiple_of": 8}, "right"),
        nightly(tiny.tagged, {"max_length": 20}, "left"),
        nightly(equal_lengths, {"pad_to_multiple_of": 8}, "left"),
        nightly(equal_lengths, {"max_length": 20}, "right"),
    ],
)
def test_padding_is_the_same(make, widths, side):
    data = make().remove_columns("attention_mask")
    assert_equal_streams(*both(data, processing_class=tokenizer(side), **widths))


@pytest.mark.parametrize(
    "options", [{"start_step": 4}, {"drop_remainder": True}, {"shuffle": False}, {"batch_size": 1}]
)
def test_the_order_is_the_same(options):
    assert_equal_streams(*both(tiny.classified(), **options))
    assert_equal_streams(*both(tiny.classified(), group_by_length=True, **options))


def test_rows_that_are_selected_shuffled_joined_or_on_disk(tmp_path):
    data = tiny.classified(30)
    data.save_to_disk(tmp_path / "saved", num_shards=3)
    saved = datasets.load_from_disk(tmp_path / "saved")
    joined = datasets.concatenate_datasets([saved, tiny.classified(5)])
    chosen = joined.shuffle(seed=0).filter(lambda row: len(row["input_ids"]) < 12)
    for rows in (saved, joined, chosen, chosen.select([3, 3, 1]), chosen.with_format("numpy")):
        assert_equal_streams(*both(rows))
    evaluations = [evaluation_batches(chosen, 4, processing_class=tokenizer(), keep_in_memory=k) for k in (True, False)]
    assert_equal_streams(*evaluations)


def test_large_data_is_not_read_into_memory(monkeypatch):
    data, taken = tiny.classified(), []
    monkeypatch.setattr(stored_source, "LARGEST_IN_MEMORY", 500)
    monkeypatch.setattr(stored_source, "stored_chunks", lambda *args: taken.append(args) or iter(()))
    with pytest.raises(DataError):
        training_batches(data, 4, processing_class=tokenizer())
    assert taken
    taken.clear()
    training_batches(data, 4, processing_class=tokenizer(), keep_in_memory=True)
    training_batches(data.select([0]), 1, processing_class=tokenizer())
    assert not taken


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": [None] + [0] * 10}, "1 rows without a value"),
        ({"label": [-1] * 11}, "-1 in all 11 rows"),
        ({"label": [5] * 11}, "Expected each label among these"),
        ({"input_ids": [[1, None]] * 11, "attention_mask": [[1, 1]] * 11}, "1 missing values|11 missing values"),
        ({"attention_mask": [[1]] * 11}, "rows of different lengths"),
        ({"input_ids": [[1] * 40] * 11, "attention_mask": [[1] * 40] * 11}, "rows of up to 40 tokens"),
        ({"input_ids": [[[1] * n] * n for n in range(1, 12)]}, "vary in length at 2 levels"),
    ],
)
@pytest.mark.parametrize("kept", [nightly(True), False])
def test_what_does_not_fit_is_refused_before_the_first_step(change, message, kept):
    data, model = tiny.classified().remove_columns("text").to_dict() | change, tiny.bert()
    model.compile("sgd")
    with pytest.raises(DataError, match=message):
        training_batches(
            datasets.Dataset.from_dict(data),
            4,
            model=model,
            processing_class=tokenizer(),
            keep_in_memory=kept,
        )


@pytest.mark.parametrize("kept", [True, False])
def test_columns_without_any_value(kept):
    features = datasets.Features({"input_ids": datasets.List(datasets.Value("int32"))})
    data = datasets.Dataset.from_dict({"input_ids": [[], []]}, features=features)
    with pytest.raises(DataError, match="empty in every row"):
        training_batches(data, 2, keep_in_memory=kept)


def test_refused_rows_that_are_not_selected_do_no_harm():
    data = datasets.Dataset.from_dict({"x": [[1, 2], [3, 4], [5, 6, 7]], "label": [0, 1, None]})
    assert_equal_streams(*both(data.filter(lambda row: row["label"] is not None), processing_class=None))


@pytest.mark.parametrize("kept", [True, False])
def test_rows_that_are_wider_than_asked_for(kept):
    with pytest.raises(DataError, match="max_length=5"):
        training_batches(tiny.classified(), 4, processing_class=tokenizer(), max_length=5, keep_in_memory=kept)


MEMORY = """
import sys, datasets, numpy as np, pyarrow as pa, pyarrow.ipc, tf_keras
from tf_hfwb.data import stored_source, training_batches
number, path = int(sys.argv[1]), sys.argv[2]
random, size = np.random.default_rng(0), 10_000
lengths = random.integers(5, 61, size)
tokens = pa.ListArray.from_arrays(np.r_[0, np.cumsum(lengths)].astype("int32"), np.ones(lengths.sum(), "int32"))
batch = pa.RecordBatch.from_arrays([tokens, pa.array(np.arange(size) % 3)], ["input_ids", "label"])
with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as writer:
    for _ in range(number // size):
        writer.write_batch(batch)
data = datasets.Dataset.from_file(path)
assert len(data) == number and data.data.nbytes > number * 100, (len(data), data.data.nbytes)
class Tokenizer:
    pad_token_id, pad_token_type_id, padding_side, model_input_names = 0, 0, "right", ["input_ids"]
model = tf_keras.Sequential([
    tf_keras.layers.Embedding(2, 4), tf_keras.layers.GlobalAveragePooling1D(), tf_keras.layers.Dense(3)
])
model.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
batches = training_batches(data, 256, model=model, processing_class=Tokenizer(), keep_in_memory=False)
model.fit(batches.dataset, steps_per_epoch=400, verbose=0)
# The pages of mapped files (RssFile) are the kernel's to take back.
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) // 1024)
"""


@pytest.mark.parametrize(("fewer", "more"), [nightly(20_000, 2_000_000)])
def test_memory_does_not_grow_with_the_rows(fewer, more, tmp_path):
    used = []
    for number in (fewer, more):
        command = [sys.executable, "-c", MEMORY, str(number), str(tmp_path / f"{number}.arrow")]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
        used.append(int(printed.stdout.split()[-1]))
    assert used[1] < used[0] + 40, used  # MiB; the rows take 240.
