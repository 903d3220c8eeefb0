"""What arguments say of the training's data: threads, a resume that begins an epoch anew, and counts of tokens."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tiny
import transformers
from helpers import finish, history, nightly, samples, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.data import evaluation_batches, training_batches
from tf_hfwb.errors import DataError, SettingError


def trainer_of(model, data, **options):
    defaults = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "per_device_train_batch_size": 4}
    collator = options.pop("data_collator", None)
    return TFTrainer(
        model,
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=data,
        processing_class=tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None,
        data_collator=collator,
    )


# Threads


class Waiting(transformers.DataCollatorWithPadding):
    """Waits, and notes how many of its calls there are at once."""

    def __init__(self, seconds: float) -> None:
        super().__init__(tiny.tokenizer(), return_tensors="np")
        self.seconds = seconds
        self.lock = threading.Lock()
        self.running = self.most = self.calls = 0

    def __call__(self, features):
        with self.lock:
            self.running, self.calls = self.running + 1, self.calls + 1
            self.most = max(self.most, self.running)
        time.sleep(self.seconds * (1 + self.calls % 3))
        with self.lock:
            self.running -= 1
        return super().__call__(features)


@pytest.mark.parametrize(("num_workers", "most"), [(0, 1), (1, 1), (3, 3)])
@pytest.mark.parametrize("make", [training_batches, evaluation_batches])
def test_threads_do_not_change_the_order(num_workers, most, make):
    data, options = tiny.classified(44), {} if make is evaluation_batches else {"num_epochs": 1}
    collator = Waiting(0.02)
    made = make(data, 2, model=tiny.bert(), data_collator=collator, num_workers=num_workers, **options)
    expected = make(data, 2, model=tiny.bert(), data_collator=Waiting(0), **options)
    for (inputs, labels), (others, other_labels) in zip(made.dataset, expected.dataset, strict=True):
        np.testing.assert_array_equal(inputs["input_ids"], others["input_ids"])
        np.testing.assert_array_equal(labels, other_labels)
    assert collator.most == most


@pytest.mark.parametrize(("workers", "factor", "expected"), [(1, 1, 1), (1, 5, 5), (2, 3, 6)])
def test_so_many_batches_are_made_in_advance(workers, factor, expected):
    collator = Waiting(0.001)
    made = training_batches(
        tiny.classified(400), 2, model=tiny.bert(), data_collator=collator, num_workers=workers, prefetch_factor=factor
    )
    before = collator.calls
    iterator = iter(made.dataset)
    next(iterator)
    time.sleep(1)
    assert expected <= collator.calls - before - 1 <= expected + workers + 1  # Each thread has made another one.


@pytest.mark.nightly
def test_arguments_of_threads():
    collator = Waiting(0.01)
    args = {"dataloader_num_workers": 3, "dataloader_prefetch_factor": 2}
    trainer = trainer_of(tiny.bert(), tiny.classified(44), data_collator=collator, max_steps=11, **args)
    trainer.train()
    assert collator.most == 3
    with pytest.raises(SettingError, match=r"dataloader_prefetch_factor=2 .* None without dataloader_num_workers"):
        TFTrainingArguments(dataloader_prefetch_factor=2)
    with pytest.raises(SettingError, match="dataloader_num_workers=-1 cannot be used"):
        TFTrainingArguments(dataloader_num_workers=-1)
    with pytest.raises(DataError, match="prefetch_factor=0 cannot be used"):
        training_batches(samples(8), 2, prefetch_factor=0)


# ignore_data_skip


class Noting(transformers.DefaultDataCollator):
    """Notes which samples each batch has."""

    def __init__(self) -> None:
        super().__init__(return_tensors="np")
        self.batches: list[list[int]] = []

    def __call__(self, features):
        batch = super().__call__(features)
        self.batches.append(batch["x"][:, 0].astype(int).tolist())
        return batch


def numbered(number: int):
    import datasets

    x = [[float(n)] * 4 for n in range(number)]
    return datasets.Dataset.from_dict({"x": x, "labels": [0] * number})


def batches_seen(kind, resume=None, **options) -> tuple[list[list[int]], int]:
    collator = Noting()
    defaults = {"output_dir": "out", "save_strategy": "steps", "save_steps": 1, "dataloader_num_workers": 0}
    trainer = trainer_of(tiny.functional(kind), numbered(20), data_collator=collator, **{**defaults, **options})
    step = trainer.train(resume).global_step
    return collator.batches[2:], step  # The first two only show what batches look like.


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
@pytest.mark.parametrize(("saved", "first"), [(3, 0), nightly(5, 5), nightly(7, 5)])
def test_the_epoch_begins_anew(kind, saved, first):
    whole, _ = batches_seen(kind, num_train_epochs=2)
    whole = whole[:10]
    seen, step = batches_seen(kind, f"out/checkpoint-{saved}", num_train_epochs=2, ignore_data_skip=True)
    assert step == 10
    assert seen[: min(10 - saved, 5)] == whole[first : first + min(10 - saved, 5)]
    skipped, _ = batches_seen(kind, f"out/checkpoint-{saved}", num_train_epochs=2)
    assert skipped[: 10 - saved] == whole[saved:]


def test_steps_and_learning_rates_go_on():
    options = {"report_to": "wandb", "num_train_epochs": 2, "logging_steps": 1, "output_dir": "out"}
    options |= {"save_strategy": "steps", "save_steps": 1}
    trainer_of(tiny.functional("tf_keras"), numbered(20), **options).train()
    whole = train_rows(history(finish()))
    trainer = trainer_of(tiny.functional("tf_keras"), numbered(20), ignore_data_skip=True, **options)
    trainer.args.report_to, trainer.args.max_steps = ["wandb"], 12
    assert trainer.train("out/checkpoint-3").global_step == 12
    rows = train_rows(history(finish()))
    assert [row["train/global_step"] for row in rows] == [11, 12]  # The run has the others.
    assert len(whole) == 10


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_data_that_is_endless_or_tells_no_length(kind):
    data = tf.data.Dataset.from_tensor_slices(tiny.named(samples(20))).batch(4)
    unknown = data.filter(lambda x, y: True)
    for each, name in ((data.repeat(), "endless"), (unknown, "unknown"), (data, "known")):
        options = {"output_dir": name, "save_strategy": "steps", "save_steps": 3}
        trainer_of(tiny.functional(kind), each, max_steps=3, **options).train()
        resumed = trainer_of(tiny.functional(kind), each, max_steps=8, ignore_data_skip=True, **options)
        assert resumed.train(resume_from_checkpoint=True).global_step == 8


# Tokens


def tokens_of(data, batch_size: int, *, padded: bool) -> list[int]:
    """In the order of the data."""
    lengths = [len(ids) for ids in data["input_ids"]]
    groups = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    return [len(group) * max(group) if padded else sum(group) for group in groups]


@pytest.mark.parametrize(("value", "padded"), [nightly(True, True), ("all", True), ("non_padding", False)])
def test_rows_and_metrics_have_the_tokens_so_far(value, padded):
    data = tiny.classified(44)
    options = {"report_to": "wandb", "logging_steps": 1, "num_train_epochs": 2}
    trainer = trainer_of(tiny.bert(), data, include_num_input_tokens_seen=value, **options)
    seed = trainer.args.seed
    metrics = trainer.train().metrics
    made = training_batches(data, 4, model=trainer.model, processing_class=tiny.tokenizer(), seed=seed, num_epochs=2)
    inputs = [inputs for inputs, _ in made.dataset]
    each = [int(tf.size(one["input_ids"]) if padded else tf.reduce_sum(one["attention_mask"])) for one in inputs]
    rows = train_rows(history(finish()))
    assert [row["train/num_input_tokens_seen"] for row in rows] == np.cumsum(each).tolist()
    assert metrics["num_input_tokens_seen"] == trainer.state.num_input_tokens_seen == sum(each)
    assert "train_tokens_per_second" not in metrics


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["bert", nightly("gpt2"), nightly("t5")])
def test_tokens_of_a_resumed_training_are_added(kind):
    data = {"bert": tiny.classified, "gpt2": tiny.next_words, "t5": tiny.answered}[kind](44)
    options = {"include_num_input_tokens_seen": True, "output_dir": "out", "num_train_epochs": 2}
    whole = trainer_of(getattr(tiny, kind)(), data, **options).train().metrics
    trainer_of(getattr(tiny, kind)(), data, save_strategy="steps", save_steps=7, **options).train()
    resumed = trainer_of(getattr(tiny, kind)(), data, **options).train("out/checkpoint-7").metrics
    assert resumed["num_input_tokens_seen"] == whole["num_input_tokens_seen"]


def test_tokens_per_second():
    data = tiny.classified(44)
    trainer = trainer_of(tiny.bert(), data, include_tokens_per_second=True, num_train_epochs=1, report_to="wandb")
    metrics = trainer.train().metrics
    made = training_batches(data, 4, model=trainer.model, processing_class=tiny.tokenizer(), num_epochs=1)
    total = sum(int(tf.size(inputs["input_ids"])) for inputs, _ in made.dataset)
    assert metrics["train_tokens_per_second"] == pytest.approx(total / metrics["train_runtime"], rel=0.01)
    assert "num_input_tokens_seen" not in metrics
    assert "train/num_input_tokens_seen" not in train_rows(history(finish()))[-1]


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_tokens_of_plain_models(kind):
    trainer = trainer_of(tiny.functional(kind), tiny.named(samples(10)), include_num_input_tokens_seen=True)
    with pytest.raises(DataError, match=r"does not say which of its inputs \['x'\] are tokens.*main_input_name = 'x'"):
        trainer.train()
    trainer.model.main_input_name = "x"
    assert trainer.train().metrics["num_input_tokens_seen"] == 3 * 10 * 4


def test_tokens_need_a_length():
    data = tf.data.Dataset.from_tensor_slices(tiny.named(samples(20))).batch(4).filter(lambda x, y: True)
    trainer = trainer_of(tiny.functional("tf_keras"), data, max_steps=3, include_num_input_tokens_seen=True)
    trainer.model.main_input_name = "x"
    with pytest.raises(DataError, match="its tokens cannot be counted"):
        trainer.train()


@pytest.mark.parametrize(
    ("value", "word"), [(True, "all"), (False, "no"), ("True", "all"), ("non_padding", "non_padding"), ("no", "no")]
)
def test_words_of_counts(value, word):
    assert TFTrainingArguments(include_num_input_tokens_seen=value).include_num_input_tokens_seen == word


def test_what_is_no_word_of_counts():
    with pytest.raises(SettingError, match="include_num_input_tokens_seen='some' is not recognised"):
        TFTrainingArguments(include_num_input_tokens_seen="some")
    flag = ["--include_num_input_tokens_seen"]  # It has no words there, as with transformers' own class.
    (args,) = transformers.HfArgumentParser(TFTrainingArguments).parse_args_into_dataclasses(flag)
    assert args.include_num_input_tokens_seen == "all"
