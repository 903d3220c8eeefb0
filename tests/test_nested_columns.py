"""Columns of multiple choice and of question answering: the batches of transformers' collators, and trainings."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tiny
import transformers
from helpers import nightly

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.data import evaluation_batches, training_batches

CHOICES = 3


def choices(number: int = 11) -> datasets.Dataset:
    """For each question several answers, tokenised together with it: lists of lists."""
    rows: dict[str, list] = {"input_ids": [], "token_type_ids": [], "attention_mask": []}
    for n in range(number):
        question = [tiny.TEXTS[n % len(tiny.TEXTS)]] * CHOICES
        answers = [tiny.TEXTS[(n + k) % len(tiny.TEXTS)] for k in range(1, CHOICES + 1)]
        encoded = tiny.tokenizer()([f"{q} {a}" for q, a in zip(question, answers, strict=True)])
        for name, values in rows.items():
            values.append(encoded[name])
    return datasets.Dataset.from_dict({**rows, "label": [n % CHOICES for n in range(number)]})


def questions(number: int = 11) -> datasets.Dataset:
    """Where an answer begins and ends."""
    data = tiny.texts(number).remove_columns("text")
    ends = [len(ids) - 1 for ids in data["input_ids"]]
    return data.add_column("start_positions", [1] * number).add_column("end_positions", ends)


DATA = {
    "choices": (choices, transformers.TFBertForMultipleChoice),
    "questions": (questions, transformers.TFBertForQuestionAnswering),
}


def in_every_way(data, **options):
    """Batches of it in memory, from files and as a stream."""
    sources = [(data, {"keep_in_memory": True}), (data, {"keep_in_memory": False}), (data.to_iterable_dataset(2), {})]
    return [evaluation_batches(each, 4, **ways, **options).dataset for each, ways in sources]


@pytest.mark.parametrize(
    ("name", "side"),
    [("choices", "left"), ("questions", "right"), nightly("choices", "right"), nightly("questions", "left")],
)
def test_the_batches_are_those_of_the_collator(name, side):
    make, model_class = DATA[name]
    data, model, tokenizer = make(), tiny.of_bert(model_class), tiny.tokenizer(padding_side=side)
    padding = transformers.DataCollatorWithPadding(tokenizer, return_tensors="np")
    collate = padded_choices(tokenizer) if name == "choices" else lambda rows: padding(rows)
    expected = list(evaluation_batches(data, 4, model=model, data_collator=collate).dataset)
    for found in in_every_way(data, model=model, processing_class=tokenizer):
        for one, other in zip(expected, found, strict=True):
            tf.nest.assert_same_structure(one, other)
            for value, same in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
                np.testing.assert_array_equal(value, same)


def padded_choices(tokenizer):
    """What transformers' ``DataCollatorForMultipleChoice`` does, which needs PyTorch."""

    def collate(rows):
        flat = [{name: row[name][k] for name in row if name != "label"} for row in rows for k in range(CHOICES)]
        padded = tokenizer.pad(flat, return_tensors="np")
        batch = {name: value.reshape(len(rows), CHOICES, -1) for name, value in padded.items()}
        return {**batch, "labels": np.array([row["label"] for row in rows])}

    return collate


@pytest.mark.parametrize("options", [{"pad_to_multiple_of": 8}, {"max_length": 32}])
def test_choices_have_few_widths(options):
    for found in in_every_way(choices(), processing_class=tiny.tokenizer(), **options):
        for inputs, _ in found:
            assert inputs["input_ids"].shape[1] == CHOICES
            assert inputs["input_ids"].shape[2] % 8 == 0


@pytest.mark.parametrize("name", ["choices", nightly("questions")])
def test_they_are_trained_on_evaluated_and_predicted(name, tmp_path):
    make, model_class = DATA[name]
    model, data = tiny.of_bert(model_class), make()
    before = model.get_weights()
    args = TFTrainingArguments(
        str(tmp_path),
        per_device_train_batch_size=4,
        max_steps=4,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = TFTrainer(model, args, train_dataset=data, eval_dataset=data, processing_class=tiny.tokenizer())
    output = trainer.train()
    assert output.global_step == 4
    assert any((one != other).any() for one, other in zip(before, model.get_weights(), strict=True))
    assert np.isfinite(trainer.evaluate()["eval_loss"])
    predictions = trainer.predict(data).predictions
    assert (len(predictions[0]) if name == "questions" else predictions.shape) == (
        11 if name == "questions" else (11, 3)
    )


@pytest.mark.parametrize("name", DATA)
def test_any_batch_can_be_the_first(name):
    data, options = DATA[name][0](), {"processing_class": tiny.tokenizer(), "num_epochs": 2}
    whole = list(training_batches(data, 4, **options).dataset.as_numpy_iterator())
    resumed = list(training_batches(data, 4, start_step=4, **options).dataset.as_numpy_iterator())
    assert repr(resumed) == repr(whole[4:])
