"""Rows that are computed as they are read: texts are tokenised, images decoded and augmented, at any step again."""

from __future__ import annotations

import datasets
import numpy as np
import PIL.Image
import pytest
import tiny
import transformers

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.data import evaluation_batches, training_batches
from tf_hfwb.errors import DataError


def raw_texts(number: int = 11) -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {"text": [tiny.TEXTS[n % len(tiny.TEXTS)] for n in range(number)], "label": [n % 3 for n in range(number)]}
    )


def tokenised(rows):
    return {**tiny.tokenizer()(rows["text"], return_token_type_ids=False), "label": rows["label"]}


def images(number: int = 11, form: str = "png") -> datasets.Dataset:
    """Pictures as files in a column, as ``datasets.load_dataset("imagefolder")`` makes them."""
    random = np.random.default_rng(0)
    pictures = [PIL.Image.fromarray(random.integers(0, 255, (9, 8, 3), dtype=np.uint8)) for _ in range(number)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    return datasets.Dataset.from_dict({"image": pictures, "label": [n % 3 for n in range(number)]}, features)


def augmented(rows):
    """Decoded, cut to the size of the model and mirrored at random."""
    pixels = []
    for picture in rows["image"]:
        array = np.asarray(picture.convert("RGB"), np.float32) / 255
        top = np.random.randint(0, 2)
        array = array[top : top + 8]
        pixels.append((array[:, ::-1] if np.random.random() < 0.5 else array).transpose(2, 0, 1))
    return {"pixel_values": pixels, "label": rows["label"]}


def values_of(batches) -> list:
    return [
        ({name: value.tolist() for name, value in inputs.items()}, labels.tolist())
        for inputs, labels in batches.dataset.as_numpy_iterator()
    ]


@pytest.mark.parametrize("options", [{}, {"pad_to_multiple_of": 8}, {"max_length": 20}])
def test_texts_are_tokenised_as_they_are_read(options):
    data = raw_texts()
    options = {**options, "processing_class": tiny.tokenizer(), "num_epochs": 2}
    before = data.map(tokenised, batched=True, remove_columns="text")
    expected = values_of(training_batches(before, 4, **options))
    assert values_of(training_batches(data.with_transform(tokenised), 4, **options)) == expected
    assert values_of(training_batches(data.with_transform(tokenised), 4, start_step=4, **options)) == expected[4:]


def test_texts_of_a_stream_are_tokenised_as_they_are_read():
    data = raw_texts()
    options = {"processing_class": tiny.tokenizer(), "model": tiny.bert()}
    expected = values_of(evaluation_batches(data.map(tokenised, batched=True), 4, **options))
    stream = data.to_iterable_dataset(num_shards=2).map(tokenised, batched=True, batch_size=3)
    assert values_of(evaluation_batches(stream, 4, **options)) == expected


def test_images_are_decoded_and_augmented_as_at_this_step():
    data = images().with_transform(augmented)
    whole = values_of(training_batches(data, 4, num_epochs=3, model=tiny.vit()))
    assert np.shape(whole[0][0]["pixel_values"]) == (4, 3, 8, 8)
    assert values_of(training_batches(data, 4, num_epochs=3, start_step=5, model=tiny.vit())) == whole[5:]
    pixels = [
        np.array([batch[0]["pixel_values"][0]])
        for batch in values_of(training_batches(data.select([2]), 1, num_epochs=9))
    ]
    assert len({pixel.tobytes() for pixel in pixels}) > 1, "Another one in each epoch."


def test_images_are_decoded_of_a_stream():
    stream = images().to_iterable_dataset(num_shards=3).map(augmented, batched=True, remove_columns="image")
    collator = transformers.DefaultDataCollator(return_tensors="np")
    batches = training_batches(stream, 4, num_epochs=1, model=tiny.vit(), data_collator=collator)
    assert [len(labels) for _, labels in values_of(batches)] == [4, 4, 3]


def trained(model, data, directory, resume=None, **options):
    args = TFTrainingArguments(
        str(directory),
        per_device_train_batch_size=4,
        max_steps=5,
        save_strategy="steps",
        save_steps=2,
        disable_tqdm=True,
        report_to="none",
        full_determinism=True,
    )
    trainer = TFTrainer(model, args, train_dataset=data, eval_dataset=data, **options)
    trainer.train(resume)
    assert "eval_loss" in trainer.evaluate()
    return model.get_weights()


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["pictures", "texts"])
def test_trainings_resume_bit_for_bit(kind, tmp_path):
    def train(resume=None):
        if kind == "pictures":
            return trained(tiny.vit(), images().with_transform(augmented), tmp_path, resume)
        data = raw_texts().with_transform(tokenised)
        return trained(tiny.bert(), data, tmp_path, resume, processing_class=tiny.tokenizer())

    whole = train()
    for one, other in zip(whole, train(str(tmp_path / "checkpoint-2")), strict=True):
        np.testing.assert_array_equal(one, other)


def test_raw_columns_say_what_to_do():
    for data, model in ((raw_texts(), tiny.bert()), (images(), tiny.vit())):
        with pytest.raises(DataError, match=r"No column is a model input: .*dataset.with_transform"):
            training_batches(data, 4, model=model)
