"""What a collator or a transform draws at random depends on the seed and the step: a resumed training sees it again."""

from __future__ import annotations

import random

import datasets
import numpy as np
import pytest
import tf_keras
import tiny
import transformers
from helpers import nightly

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.data import evaluation_batches, training_batches


def masking(kind=transformers.DataCollatorForLanguageModeling, **options):
    return kind(tiny.tokenizer(), mlm_probability=0.4, **{"return_tensors": "np"} | options)


def noisy(rows):
    """A collator with the generators of the process."""
    return {"x": [[random.random(), np.random.normal()] for _ in rows], "labels": [row["label"] for row in rows]}


def cropped(batch):
    """A transform, as ``set_transform`` takes it, that cuts out a random place."""
    starts = np.random.randint(0, 8, len(batch["label"]))
    return {"pixel_values": [np.full((2, 2), start, np.float32) for start in starts], "label": batch["label"]}


def values_of(batches) -> list[list]:
    """All inputs and labels of each batch."""
    found = []
    for inputs, labels in batches.dataset.as_numpy_iterator():
        found.append([*(inputs[name].tolist() for name in sorted(inputs)), labels.tolist()])
    return found


TEXTS = tiny.texts().remove_columns("text")
NUMBERED = datasets.Dataset.from_dict({"x": range(11), "label": range(11)})
COLLATORS = {
    "masks": (TEXTS, masking, {}),
    "seeded masks": (TEXTS, lambda: masking(seed=5), {}),
    "masks of words": (TEXTS, lambda: masking(transformers.DataCollatorForWholeWordMask), {}),
    "threads": (TEXTS, masking, {"num_workers": 3}),
    "global generators": (NUMBERED, lambda: noisy, {}),
    "transform": (
        NUMBERED.with_transform(cropped),
        lambda: transformers.DefaultDataCollator(return_tensors="np"),
        {},
    ),
}
SELDOM = ["masks", "masks of words"]


@pytest.mark.parametrize("name", [nightly(name) if name in SELDOM else name for name in COLLATORS])
@pytest.mark.filterwarnings("ignore:DataCollatorForWholeWordMask")
def test_any_step_draws_the_same_again(name):
    data, make, options = COLLATORS[name]

    def stream(start=0, **other):
        options_of_all = {"num_epochs": 2, "data_collator": make(), "start_step": start} | options | other
        return values_of(training_batches(data, 4, **options_of_all))

    whole = stream()
    assert len(whole) == 6
    assert stream(4) == whole[4:]
    assert stream() == whole
    assert stream(seed=1, shuffle=False)[0] != stream(seed=2, shuffle=False)[0]
    one_row = [training_batches(data.select([0]), 1, num_epochs=8, data_collator=make(), **options)]
    assert len({repr(batch) for batch in values_of(one_row[0])}) > 1  # Another one at each step.
    evaluated = [values_of(evaluation_batches(data, 4, data_collator=make(), **options)) for _ in range(2)]
    assert evaluated[0] == evaluated[1]


def test_masks_of_tensorflow_are_seeded_too():
    streams = [
        values_of(training_batches(TEXTS, 4, num_epochs=1, data_collator=masking(return_tensors="tf"))) for _ in "12"
    ]
    assert streams[0] == streams[1]


def test_the_generators_of_the_process_are_left_as_they_were():
    random.seed(3)
    np.random.seed(3)
    expected = random.random(), np.random.random()
    random.seed(3)
    np.random.seed(3)
    collator = masking()
    values_of(training_batches(NUMBERED, 4, num_epochs=1, data_collator=noisy))
    values_of(training_batches(TEXTS, 4, num_epochs=1, data_collator=collator))
    assert (random.random(), np.random.random()) == expected
    assert (collator.seed, collator.generator) == (None, None)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_masked_language_modelling_resumes_bit_for_bit(kind, tmp_path):
    class Draws(tf_keras.callbacks.Callback):
        """Draws numbers that a resumed training does not draw."""

        def on_train_batch_end(self, batch, logs=None):
            np.random.random(7)

    def train(resume=None, **options):
        classes = transformers.TFBertForMaskedLM, transformers.TFDistilBertForMaskedLM
        model = tiny.of_bert(classes[0]) if kind == "bert" else tiny.seeded(classes[1], tiny.distilbert().config)
        args = TFTrainingArguments(
            str(tmp_path),
            per_device_train_batch_size=4,
            max_steps=5,
            save_strategy="steps",
            save_steps=2,
            disable_tqdm=True,
            report_to="none",
            full_determinism=True,
            **options,
        )
        draws = [] if resume else [Draws()]
        trainer = TFTrainer(model, args, data_collator=masking(), train_dataset=tiny.texts(), callbacks=draws)
        trainer.train(resume)
        return [weight.numpy() for weight in model.weights]

    whole = train()
    resumed = train(str(tmp_path / "checkpoint-2"))
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)
