"""group_by_length: batches of about the same length, in an order that is a function of the step alone."""

from __future__ import annotations

import itertools

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tiny
import transformers
from helpers import nightly, samples

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.data import training_batches
from tf_hfwb.data.length_order import LengthGroupedOrder
from tf_hfwb.errors import DataError, SettingError


def rows(number: int, seed: int = 0, **columns) -> datasets.Dataset:
    """Rows of 1 to 60 tokens, each of which is the number of its row."""
    lengths = np.random.default_rng(seed).integers(1, 60, number)
    ids = [[row + 1] * int(length) for row, length in enumerate(lengths)]
    return datasets.Dataset.from_dict({"input_ids": ids, "labels": [0] * number, **columns})


def batches_of(data, batch_size=4, **options):
    options = {"processing_class": tiny.tokenizer(), "group_by_length": True, "num_epochs": 1, **options}
    made = training_batches(data, batch_size, **options)
    return [inputs["input_ids"].numpy() for inputs, _ in made.dataset]


def rows_of(batch) -> list[int]:
    return (batch[:, 0] - 1).tolist()


def widths_of(batches) -> list[int]:
    return [batch.shape[1] for batch in batches]


@pytest.mark.parametrize("drop_remainder", [False, True])
@pytest.mark.parametrize("number", [1, 3, 4, 15, nightly(16), 17, nightly(99), nightly(800), 1003])
def test_every_sample_once_and_the_longest_first(number, drop_remainder):
    if drop_remainder and number < 4:
        return
    data = rows(number)
    batches = batches_of(data, drop_remainder=drop_remainder, num_epochs=2)
    assert len(batches) == 2 * (number // 4 if drop_remainder else -(-number // 4))
    longest = max(map(len, data["input_ids"]))
    for epoch in np.array_split(np.arange(len(batches)), 2):
        seen = [row for index in epoch for row in rows_of(batches[index])]
        assert len(seen) == len(set(seen)) == (number // 4 * 4 if drop_remainder else number)
        assert batches[epoch[0]].shape[1] == longest


def test_groups_are_those_of_transformers():
    """50 batches, or what makes four groups, each sorted in itself."""
    for number, batch_size, expected in [(10_000, 4, 200), (1600, 8, 400), (1599, 8, 392), (100, 8, 24), (7, 8, 8)]:
        order = LengthGroupedOrder.of(np.ones(number, np.int64), batch_size, 0, drop_remainder=False)
        assert order.group_size == expected
    data = rows(1000)
    lengths = np.array([len(ids) for ids in data["input_ids"]])
    order = LengthGroupedOrder.of(lengths, 4, 42, drop_remainder=False)
    batches = batches_of(data, seed=42)
    flat = lengths[[row for batch in batches for row in rows_of(batch)]]
    for start in range(0, 1000, order.group_size):
        group = flat[start : start + order.group_size]
        assert (np.diff(group) <= 0).all()
        assert len(set(group)) > 20  # From all over the data.


@pytest.mark.parametrize("accumulated", [2, 3, 8, nightly(100)])
def test_groups_hold_whole_steps_of_several_batches(accumulated):
    """transformers groups over train_batch_size * gradient_accumulation_steps samples."""
    number, batch_size = 1003, 4
    step = batch_size * accumulated
    expected = step * max(1, min(number // (4 * step), 50))
    data = rows(number)
    lengths = np.array([len(ids) for ids in data["input_ids"]])
    batches = batches_of(data, seed=42, gradient_accumulation_steps=accumulated)
    flat = [row for batch in batches for row in rows_of(batch)]
    assert sorted(flat) == list(range(number))
    falls = np.diff(lengths[flat]) <= 0
    rises = {int(place) + 1 for place in np.flatnonzero(~falls)}
    assert rises == set(range(expected, number, expected))
    assert lengths[flat[0]] == lengths.max()


def test_less_is_padded_than_in_the_order_that_is_only_shuffled():
    data = rows(1000)
    tokens = sum(map(len, data["input_ids"]))
    grouped, shuffled = (sum(batch.size for batch in batches_of(data, group_by_length=on)) for on in (True, False))
    assert grouped < 1.05 * tokens
    assert shuffled > 1.5 * tokens


@pytest.mark.parametrize(("number", "collator"), [(64, True), (99, False), nightly(64, False), nightly(99, True)])
def test_any_step_can_be_the_first(collator, number):
    options = {}
    if collator:
        options = {"data_collator": transformers.DataCollatorWithPadding(tiny.tokenizer(), return_tensors="np")}
    data = rows(number)
    whole = batches_of(data, num_epochs=3, **options)
    steps = len(whole)
    for start in (1, steps // 3 - 1, steps // 3, steps // 2, steps - 1, steps):
        resumed = batches_of(data, num_epochs=3, start_step=start, **options)
        assert [rows_of(batch) for batch in resumed] == [rows_of(batch) for batch in whole[start:]]


def test_the_seed_and_the_epoch_decide_the_order():
    data = rows(99)
    first, other = batches_of(data, seed=1), batches_of(data, seed=2)
    assert [rows_of(batch) for batch in first] == [rows_of(batch) for batch in batches_of(data, seed=1)]
    assert [rows_of(batch) for batch in first] != [rows_of(batch) for batch in other]
    epochs = [rows_of(batch) for batch in batches_of(data, seed=1, num_epochs=2)]
    assert epochs[:25] != epochs[25:]
    unshuffled = batches_of(data, shuffle=False, num_epochs=2)
    assert [rows_of(batch) for batch in unshuffled[:25]] == [rows_of(batch) for batch in unshuffled[25:]]


@pytest.mark.parametrize("number", [20_000, nightly(1_000_000)])
def test_the_cost_of_a_step_does_not_depend_on_its_number(number):
    order = LengthGroupedOrder.of(np.random.default_rng(0).integers(1, 512, number), 8, 0, drop_remainder=True)
    operations = [
        operation.type
        for operation in tf.function(order.indices)
        .get_concrete_function(tf.TensorSpec([], tf.int64))
        .graph.get_operations()
    ]
    assert not {"While", "StatelessWhile"} & set(operations)
    assert order.group_size == 400
    late = order.indices(tf.constant(10**9, tf.int64)).numpy()
    assert len(set(late.tolist())) == 8


def test_the_static_shape_is_known_where_all_batches_are_full():
    for number, expected in [(16, 4), (17, None)]:
        made = training_batches(rows(number), 4, processing_class=tiny.tokenizer(), group_by_length=True)
        assert made.dataset.element_spec[1].shape[0] == expected


def test_a_column_tells_the_lengths():
    lengths = list(range(99))
    data = rows(99, length=lengths, size=lengths[::-1])
    assert 98 in rows_of(batches_of(data)[0])
    assert 0 in rows_of(batches_of(data, length_column_name="size")[0])
    chosen = data.select(range(50))  # Rows that lie elsewhere on disk.
    assert 49 in rows_of(batches_of(chosen)[0])
    lazy = datasets.Dataset.from_dict({"text": ["a"] * 9, "length": list(range(9))})
    lazy.set_transform(lambda batch: {"input_ids": [[n + 1] for n in batch["length"]]})
    made = batches_of(
        lazy,
        data_collator=lambda rows: {
            "input_ids": np.array([row["input_ids"] for row in rows]),
            "labels": np.zeros(len(rows)),
        },
        remove_unused_columns=False,
    )
    assert 8 in rows_of(made[0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tf.data.Dataset.range(8).batch(4), "a tensorflow.* Expected a datasets.Dataset"),
        (samples(8), "a builtins.tuple. Expected a datasets.Dataset"),
        (
            datasets.Dataset.from_dict({"x": [1.0, 2.0]}),
            r"the columns \['x'\] tell no lengths. Expected a column 'length'",
        ),
        (datasets.Dataset.from_dict({"input_ids": [1, 2]}), r"the columns \['input_ids'\] tell no lengths"),
        (datasets.Dataset.from_dict({"input_ids": [[1], [2]], "length": [1, None]}), "no length in 1 rows"),
        (datasets.Dataset.from_dict({"input_ids": [[1], [2]], "length": [1.5, 2.0]}), "of the type double"),
    ],
)
def test_data_without_lengths_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        training_batches(data, 2, processing_class=tiny.tokenizer(), group_by_length=True)


# The trainer


class Widths(transformers.DataCollatorWithPadding):
    """Notes how wide each batch is."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__(tiny.tokenizer(), return_tensors="np")
        self.seen = seen

    def __call__(self, features):
        batch = super().__call__(features)
        self.seen.append(batch["input_ids"].shape[1])
        return batch


def trainer_of(**options):
    defaults = {"report_to": "none", "disable_tqdm": True, "per_device_train_batch_size": 2, "learning_rate": 0.01}
    data = tiny.classified(44)
    return TFTrainer(
        tiny.bert(),
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=data,
        eval_dataset=data,
        processing_class=tiny.tokenizer(),
    )


@pytest.mark.parametrize("flag", ["group_by_length", nightly("sortish_sampler")])
def test_only_training_is_grouped(flag):
    trainer, seen = trainer_of(**{flag: True}, num_train_epochs=1, save_strategy="no"), []
    trainer.data_collator = Widths(seen)
    trainer.train()
    widths = seen[2:24]  # The first two only show what batches look like; the last are of the next epoch.
    assert widths[0] == max(widths)
    assert sum(first < second for first, second in itertools.pairwise(widths)) <= 4  # From group to group.
    in_order = [row for batch in (trainer.predict(trainer.train_dataset).label_ids,) for row in batch.tolist()]
    assert in_order == trainer.train_dataset["label"]


@pytest.mark.parametrize("accumulated", [1, 4])
def test_the_trainer_groups_whole_steps(accumulated):
    """44 samples in batches of 2: groups of 10, or with steps of 8 samples, of 8."""
    trainer = trainer_of(group_by_length=True, gradient_accumulation_steps=accumulated)
    batches = trainer.get_train_tfdataset().take(22).as_numpy_iterator()
    mask = np.concatenate([inputs["attention_mask"].sum(1) for inputs, _ in batches])
    lengths = {10: [mask[first : first + 10] for first in range(0, 44, 10)]}
    lengths[8] = [mask[first : first + 8] for first in range(0, 44, 8)]
    sorted_sizes = [size for size, groups in lengths.items() if all((np.diff(group) <= 0).all() for group in groups)]
    assert sorted_sizes == ([10] if accumulated == 1 else [8])


@pytest.mark.parametrize("kind", ["steps", nightly("epoch")])
def test_a_training_resumes_in_the_middle_of_an_epoch(kind):
    options = {"group_by_length": True, "output_dir": "parts", "save_strategy": kind, "save_steps": 13}
    whole = trainer_of(**options, num_train_epochs=2)
    whole.train()
    resumed = trainer_of(**options, num_train_epochs=2)
    resumed.train(resume_from_checkpoint="parts/checkpoint-13" if kind == "steps" else "parts/checkpoint-22")
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.nightly
def test_another_order_than_before_is_said(caplog):
    trainer_of(max_steps=3, output_dir="out").train()
    trainer_of(max_steps=4, output_dir="out", group_by_length=True).train(resume_from_checkpoint=True)
    assert "group_by_length was False and is True" in caplog.text
    assert "gradient_accumulation_steps" not in caplog.text
    trainer_of(max_steps=5, output_dir="out", group_by_length=True, gradient_accumulation_steps=2).train(True)
    assert "gradient_accumulation_steps was 1 and is 2" in caplog.text


def test_values():
    with pytest.raises(SettingError, match="length_column_name='' cannot be used"):
        TFTrainingArguments(length_column_name="")
