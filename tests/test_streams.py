"""``datasets.IterableDataset``: every row once in each pass, any batch first, and trainings that resume exactly."""

from __future__ import annotations

import dataclasses
import json

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tiny
import transformers
from helpers import nightly

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.data import evaluation_batches, stream_batches, stream_blocks, training_batches
from tf_hfwb.data.stream_positions import StreamPosition, StreamPositions
from tf_hfwb.errors import DataError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(stream_blocks, "SHUFFLED_ROWS", 8)
    monkeypatch.setattr(stream_batches, "EXAMINED_ROWS", 8)


class Counted:
    """Rows of several files, and how many of them were read."""

    def __init__(self, number: int = 30, files: int = 4) -> None:
        self.number, self.files, self.read = number, files, 0

    def rows(self, files):
        for file in files:
            for n in range(file, self.number, self.files):
                self.read += 1
                yield {"x": [float(n)] * 4, "label": n}

    def __reduce__(self):  # datasets hashes the function.
        return Counted, (self.number, self.files)

    @property
    def stream(self) -> datasets.IterableDataset:
        return datasets.IterableDataset.from_generator(self.rows, gen_kwargs={"files": list(range(self.files))})

    @property
    def classes(self) -> datasets.IterableDataset:
        """With labels for a model of three classes."""
        return self.stream.map(lambda row: {"label": row["label"] % 3})


def labels_of(batches) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches.dataset.as_numpy_iterator()]


def flat(lists) -> list[int]:
    return [value for values in lists for value in values]


@pytest.mark.parametrize("number", [5, 16, 30])
def test_every_row_once_in_each_pass(number):
    batches = training_batches(Counted(number).stream, 4, num_epochs=2)
    received = labels_of(batches)
    half = len(received) // 2
    passes = [flat(received[:half]), flat(received[half:])]
    assert [sorted(each) for each in passes] == [list(range(number))] * 2
    assert passes[0] != passes[1]
    assert (batches.steps_per_epoch, batches.num_samples, batches.fingerprint) == (None, None, None)
    assert labels_of(training_batches(Counted(number).stream, 4, num_epochs=2, seed=1)) != received


def test_without_shuffling_the_order_is_the_streams():
    own = [row["label"] for row in Counted().stream]
    assert flat(labels_of(training_batches(Counted().stream, 4, num_epochs=1, shuffle=False))) == own
    assert flat(labels_of(evaluation_batches(Counted().stream, 4))) == own
    whole = training_batches(Counted().stream, 4, num_epochs=1, shuffle=False, drop_remainder=True)
    assert flat(labels_of(whole)) == own[:28]
    assert whole.dataset.element_spec[1].shape == (4,)


def other(row):
    return {"x": row["x"], "label": row["label"] + 100}


CHANGES = {
    "none": lambda data: data,
    "map and filter": lambda data: data.map(lambda row: {"x": [1.0, *row["x"]]}).filter(lambda row: row["label"] % 5),
    "batched map": lambda data: data.map(lambda rows: {"x": rows["x"]}, batched=True, batch_size=7),
    "take": lambda data: data.take(25),
    "skip": lambda data: data.skip(3),
    "interleave": lambda data: datasets.interleave_datasets(
        [data, data.map(other)], probabilities=[0.3, 0.7], seed=1, stopping_strategy="all_exhausted"
    ),
    "concatenate": lambda data: datasets.concatenate_datasets([data, data.map(other)]),
    "shuffle": lambda data: data.shuffle(seed=3, buffer_size=5),
}


@pytest.mark.parametrize("name", [name if name in ("map and filter", "shuffle") else nightly(name) for name in CHANGES])
def test_any_batch_can_be_the_first(name, caplog):
    counted = Counted()
    data = CHANGES[name](counted.stream)
    whole = labels_of(training_batches(data, 4, num_epochs=2))
    assert [len(batch) for batch in whole].count(4) >= len(whole) - 2
    for start in (1, 5, 8, len(whole) - 1):
        positions = StreamPositions()
        first_part = training_batches(data, 4, num_epochs=2, stream_positions=positions).dataset
        assert [labels.tolist() for _, labels in first_part.take(start).as_numpy_iterator()] == whole[:start]
        assert labels_of(training_batches(data, 4, num_epochs=2, start_step=start)) == whole[start:]
        # As it is in a checkpoint.
        saved = json.loads(json.dumps(dataclasses.asdict(positions.before(start))))
        known = StreamPositions(StreamPosition(**saved))
        resumed = training_batches(data, 4, num_epochs=2, start_step=start, stream_positions=known)
        assert labels_of(resumed) == whole[start:]
        assert labels_of(resumed) == whole[start:], "Read again, it begins there again."
    assert ("is read again from its beginning" in caplog.text) == (name == "shuffle")


def test_little_is_read_again():
    counted = Counted(400, files=20)
    positions = StreamPositions()
    first_part = training_batches(counted.stream, 4, num_epochs=1, stream_positions=positions).dataset
    for _ in first_part.take(80):
        pass
    known = StreamPositions(positions.before(80))
    resumed = training_batches(counted.stream, 4, num_epochs=1, start_step=80, stream_positions=known)
    counted.read = 0
    assert len(labels_of(resumed)) == 20
    assert counted.read <= 80 + 2 * 8 + 20, "The rest, no more than two blocks and the beginning of a file."


def test_a_state_of_another_stream_is_noticed(caplog):
    position = StreamPosition(0, 0, 1, 2, {"epoch": 0, "examples_iterable": {"unknown": 1}}, "digest")
    whole = labels_of(training_batches(Counted().stream, 4, num_epochs=1))
    known = StreamPositions(position)
    assert (
        labels_of(training_batches(Counted().stream, 4, num_epochs=1, start_step=3, stream_positions=known))
        == whole[3:]
    )
    assert "KeyError" in caplog.text


def test_streams_made_of_one_another_are_read_side_by_side(caplog):
    data = Counted(100).stream
    training, held_out = data.skip(40), data.take(40)
    whole, held_out_whole = (
        labels_of(training_batches(training, 4, num_epochs=1)),
        labels_of(evaluation_batches(held_out, 4)),
    )
    positions = StreamPositions()
    trained_on = training_batches(training, 4, num_epochs=1, stream_positions=positions).dataset.as_numpy_iterator()
    for _ in range(9):
        next(trained_on)
        assert labels_of(evaluation_batches(held_out, 4)) == held_out_whole
    known = StreamPositions(positions.before(9))
    resumed = training_batches(training, 4, num_epochs=1, start_step=9, stream_positions=known)
    assert labels_of(resumed) == whole[9:]
    assert "is read again from its beginning" not in caplog.text
    assert [row["label"] for row in data.take(2)] == [0, 4], "The user's own place in the stream is left alone."


def test_positions_that_lie_too_late_are_not_used():
    whole = labels_of(training_batches(Counted().stream, 4, num_epochs=2))
    late = StreamPositions(StreamPosition(1, 8, 0, 8))
    batches = training_batches(Counted().stream, 4, num_epochs=2, start_step=3, stream_positions=late)
    assert labels_of(batches) == whole[3:]


@pytest.mark.parametrize(
    ("make", "widths"),
    [
        (tiny.classified, {"pad_to_multiple_of": 8}),
        (tiny.tagged, {"max_length": 20}),
        (tiny.answered, {}),
        (tiny.pictures, {}),
        *(nightly(tiny.classified, {}), nightly(tiny.classified, {"max_length": 20})),
        *(nightly(tiny.tagged, {}), nightly(tiny.tagged, {"pad_to_multiple_of": 8})),
        *(nightly(tiny.answered, {"pad_to_multiple_of": 8}), nightly(tiny.answered, {"max_length": 20})),
        *(nightly(tiny.pictures, {"pad_to_multiple_of": 8}), nightly(tiny.pictures, {"max_length": 20})),
    ],
)
def test_rows_are_padded_as_those_of_a_dataset(make, widths):
    data = make().with_format(None)
    if "attention_mask" in data.column_names:
        data = data.remove_columns(["attention_mask"])
    batches = [
        evaluation_batches(each, 4, processing_class=tiny.tokenizer(), **widths)
        for each in (data, data.to_iterable_dataset(num_shards=3))
    ]
    assert batches[0].dataset.element_spec == batches[1].dataset.element_spec
    for expected, received in zip(*(each.dataset for each in batches), strict=True):
        for one, other in zip(tf.nest.flatten(expected), tf.nest.flatten(received), strict=True):
            np.testing.assert_array_equal(one, other)


def test_masks_of_a_collator_are_seeded_by_the_step():
    def stream(start):
        collator = transformers.DataCollatorForLanguageModeling(
            tiny.tokenizer(), mlm_probability=0.4, return_tensors="np"
        )
        data = tiny.texts(20).to_iterable_dataset(num_shards=2)
        batches = training_batches(data, 4, num_epochs=2, data_collator=collator, start_step=start)
        return [
            (inputs["input_ids"].tolist(), labels.tolist()) for inputs, labels in batches.dataset.as_numpy_iterator()
        ]

    assert stream(6) == stream(0)[6:]


def longer_later():
    for n in range(20):
        yield {"x": [1.0] * (3 if n < 15 else 4), "label": 0}


CASES = {
    "no rows": (lambda: datasets.IterableDataset.from_generator(lambda: iter(())), "gave no rows"),
    "too few": (lambda: Counted(3).stream, "gave no batch in pass 0"),
    "sizes": (lambda: datasets.IterableDataset.from_generator(longer_later), "other sizes than the first 8"),
    "texts": (lambda: datasets.Dataset.from_dict({"text": ["a"]}).to_iterable_dataset(), "No column is a model input"),
}


@pytest.mark.parametrize("name", CASES)
def test_refusals_say_what_to_do(name):
    make, message = CASES[name]
    with pytest.raises((DataError, tf.errors.OpError), match=message):
        labels_of(training_batches(make(), 4, num_epochs=1, shuffle=False, drop_remainder=True))


def trained(kind, counted, directory, resume=None, **options):
    args = TFTrainingArguments(
        str(directory),
        per_device_train_batch_size=4,
        max_steps=11,
        save_strategy="steps",
        save_steps=6,
        disable_tqdm=True,
        report_to="none",
        full_determinism=True,
        **options,
    )
    model = tiny.functional(kind, dropout=0.5)
    trainer = TFTrainer(model, args, train_dataset=counted.classes, eval_dataset=counted.classes)
    trainer.train(resume)
    return trainer


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize("accumulation", [1, nightly(2)])
def test_a_training_resumes_exactly_and_reads_little_again(kind, accumulation, tmp_path, caplog):
    counted = Counted(100)
    whole = trained(kind, counted, tmp_path, gradient_accumulation_steps=accumulation)
    state = json.loads((tmp_path / "checkpoint-6" / "trainer_state.json").read_text())
    batch = state["callbacks"]["StreamCheckpoints"]["batch"]
    assert 6 * accumulation - 2 <= batch <= 6 * accumulation, "A block has two batches, and the last may be begun."
    assert state["callbacks"]["StreamCheckpoints"]["state"] is not None
    resumed = trained(kind, counted, tmp_path, str(tmp_path / "checkpoint-6"), gradient_accumulation_steps=accumulation)
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "is read again from its beginning" not in caplog.text
    assert resumed.state.global_step == 11
    assert "eval_loss" in resumed.evaluate()
    assert len(resumed.predict(counted.classes).predictions) == 100


def test_lengths_are_not_known_beforehand():
    with pytest.raises(DataError, match=r"group_by_length=True was given with a datasets\.iterable_dataset"):
        training_batches(Counted().stream, 4, group_by_length=True)


def test_threads_that_do_nothing_are_named_once(tmp_path, caplog):
    args = TFTrainingArguments(str(tmp_path), report_to="none", max_steps=1, dataloader_num_workers=3)
    trainer = TFTrainer(tiny.functional("keras"), args, train_dataset=Counted().classes)
    trainer.get_train_tfdataset()
    trainer.get_train_tfdataset()
    assert caplog.text.count("dataloader_num_workers=3 says nothing of it") == 1


def test_a_training_needs_its_steps(tmp_path):
    args = TFTrainingArguments(str(tmp_path), report_to="none", save_strategy="no")
    with pytest.raises(DataError, match="Set max_steps, as for a datasets"):
        TFTrainer(tiny.functional("keras"), args, train_dataset=Counted().classes).train()
