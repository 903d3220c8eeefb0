"""TFTrainer's data: what tells no length, comes in batches already, or does not fit the model."""

from __future__ import annotations

import importlib
import json

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
import transformers
from helpers import KERASES, finish, history, nightly, samples, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.data import training_batches
from tf_hfwb.data.tf_data import batch_size_of
from tf_hfwb.errors import DataError, SettingError


def passes(*lengths: int) -> tf.data.Dataset:
    """Batches of 4 samples, whose number no dataset tells; one length after the other, pass by pass."""
    x, y = samples(4 * max(lengths))
    started = iter(range(10**6))

    def batches():
        for n in range(lengths[next(started) % len(lengths)]):
            yield {"x": x[4 * n : 4 * n + 4]}, y[4 * n : 4 * n + 4]

    spec = ({"x": tf.TensorSpec([None, 4])}, tf.TensorSpec([None], tf.int64))
    return tf.data.Dataset.from_generator(batches, output_signature=spec)


def trainer_of(model, data, **options):
    defaults = {"report_to": "none", "disable_tqdm": True, "learning_rate": 1e-2, "lr_scheduler_type": "constant"}
    callbacks = options.pop("callbacks", ())
    optimizers = options.pop("optimizers", (None, None))
    tokenizer = tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None
    args = TFTrainingArguments(**{**defaults, **options})
    return TFTrainer(
        model, args, train_dataset=data, processing_class=tokenizer, callbacks=callbacks, optimizers=optimizers
    )


def trained(kind, data, resume=None, **options):
    # The counter of Adam would be ahead by one for each time that Keras meets the end of data.
    optimizer = importlib.import_module(kind).optimizers.SGD(0.1)
    options = {"output_dir": f"{kind}-out", "optimizers": (optimizer, None), **options}
    trainer = trainer_of(tiny.functional(kind), data, **options)
    return trainer.train(resume).global_step, trainer.model.get_weights()


# -- lengths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KERASES)
@pytest.mark.parametrize("lengths", [(5, 3, 7), nightly((3, 8))])
def test_epochs_are_as_long_as_their_data(kind, lengths):
    """Both Kerases take the first one's length for that of all."""
    keras = importlib.import_module(kind)
    ends, steps = [], []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(len(steps)), on_train_batch_end=lambda batch, logs: steps.append(1)
    )
    step, _ = trained(kind, passes(*lengths), max_steps=16, save_strategy="no", callbacks=[note])
    assert step == 16
    expected = np.cumsum(np.resize(lengths, 6))
    assert ends == [*expected[expected < 16], 16]


# Saved in the middle of an epoch of 5 batches, and at the end of one, of which Keras does not know yet that it is.
@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize("stop", [7, 10])
def test_a_training_on_data_of_unknown_length_resumes(kind, stop, caplog):
    _, straight = trained(kind, passes(5), max_steps=16, save_strategy="no")
    trained(kind, passes(5), max_steps=stop)
    step, weights = trained(kind, passes(5), True, max_steps=16)
    assert "train_dataset does not tell its length" in caplog.text
    assert step == 16
    for left, right in zip(straight, weights, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_at_the_end_of_an_epoch_nothing_need_be_counted(kind, caplog):
    _, straight = trained(kind, passes(5), max_steps=14, save_strategy="no")
    trained(kind, passes(5), max_steps=12, save_strategy="epoch")
    step, weights = trained(kind, passes(5), f"{kind}-out/checkpoint-10", max_steps=14)
    assert "does not tell its length" not in caplog.text
    assert step == 14
    for left, right in zip(straight, weights, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_endless_data_is_trained_on_for_more_steps_than_before(kind, caplog):
    data = passes(5).repeat()
    _, straight = trained(kind, data, max_steps=9, save_strategy="no")
    trained(kind, data, max_steps=5)
    step, weights = trained(kind, data, True, max_steps=9)
    assert step == 9
    for left, right in zip(straight, weights, strict=True):
        np.testing.assert_array_equal(left, right)
    caplog.clear()
    assert trained(kind, data, True, max_steps=7)[0] == 9
    assert "has all 7 steps already: nothing is trained" in caplog.text


# -- the same model again --------------------------------------------------------------------------------------------


class Interrupt(tf_keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 3:
            raise KeyboardInterrupt


def test_a_second_training_counts_on_and_says_so_everywhere():
    data = tiny.named(samples(20))
    trainer = trainer_of(
        tiny.functional("tf_keras"),
        data,
        per_device_train_batch_size=4,
        num_train_epochs=2,
        logging_steps=1,
        save_steps=4,
        callbacks=[Interrupt()],
        report_to="wandb",
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.callbacks.clear()
    assert trainer.train().global_step == 13
    assert [row["train/global_step"] for row in train_rows(history(finish()))] == list(range(4, 14))
    assert [checkpoint.step for checkpoint in Store("trainer_output").checkpoints()] == [4, 8, 12, 13]

    # What was trained before it does not count for the steps that are left of it.
    again = trainer_of(tiny.functional("tf_keras"), data, per_device_train_batch_size=4, num_train_epochs=2)
    assert again.train("trainer_output/checkpoint-8").global_step == 13

    # A fresh start is one of the count, in a run of its own.
    assert trainer.train(resume_from_checkpoint=False).global_step == 10
    first = trainer.run_directory
    assert trainer.train(resume_from_checkpoint="False").global_step == 10
    assert trainer.run_directory != first
    finish()
    for directory in (first, trainer.run_directory):
        assert [row["train/global_step"] for row in train_rows(history(directory))] == list(range(1, 11))


REPLICAS = """
import json, sys
import numpy as np, tensorflow as tf
devices = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(devices[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import tiny
from helpers import samples
from tf_hfwb import TFTrainer, TFTrainingArguments

def trained(replicas, steps, resume=None):
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"][:replicas]).scope():
        model = tiny.functional("tf_keras", dropout=0.0)
    args = TFTrainingArguments(max_steps=steps, per_device_train_batch_size=4 // replicas, learning_rate=0.01,
        lr_scheduler_type="constant", report_to="none", disable_tqdm=True)
    trainer = TFTrainer(model, args, train_dataset=tiny.named(samples(12)))
    assert trainer.train(resume).global_step == steps
    return [weight.tolist() for weight in model.get_weights()]

straight = trained(1, 8)
for replicas, steps in ((2, 2), (1, 4), (2, 6), (1, 8)):
    weights = trained(replicas, steps, f"trainer_output/checkpoint-{steps - 2}" if steps > 2 else None)
print(json.dumps([straight, weights]))
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_a_training_resumes_on_another_number_of_replicas(launcher):
    finished = launcher.python(REPLICAS)
    straight, weights = json.loads(finished.stdout.splitlines()[-1])
    for left, right in zip(straight, weights, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


# -- batches already -------------------------------------------------------------------------------------------------


def test_the_batch_size_that_a_dataset_tells():
    data = tf.data.Dataset.range(20)
    assert batch_size_of(data.batch(3)) == batch_size_of(data.batch(3, drop_remainder=True)) == 3
    assert batch_size_of(data.batch(3).shuffle(2).repeat().prefetch(1)) == 3
    assert batch_size_of(data.padded_batch(3, padded_shapes=[])) == 3
    assert batch_size_of(data.ragged_batch(3).map(lambda ragged: ragged)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_device_train_batch_size": 4}, None),
        ({"per_device_train_batch_size": 16}, "per_device_train_batch_size=16 (its batches have 4 samples) says"),
        ({}, "per_device_train_batch_size=8 (its batches have 4 samples) says"),
        (
            {"per_device_train_batch_size": 4, "dataloader_drop_last": True, "data_seed": 3},
            "dataloader_drop_last=True and data_seed=3 says nothing of it",
        ),
    ],
)
def test_arguments_that_say_nothing_of_batches_are_named(options, message, caplog):
    data = tf.data.Dataset.from_tensor_slices(tiny.named(samples(20))).batch(4)
    trainer = trainer_of(tiny.functional("tf_keras"), data, max_steps=1, save_strategy="no", **options)
    trainer.train()
    trainer.train()
    told = [record.getMessage() for record in caplog.records if "taken as it is" in record.getMessage()]
    assert len(told) == (message is not None)
    assert message is None or message in told[0]
    assert message is None or told[0].startswith("train_dataset is a tf.data.Dataset")


# -- what does not fit the model -------------------------------------------------------------------------------------


class MustNotBegin(tf_keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        raise AssertionError("it was trained")


def refused(model, data, match, **options):
    with pytest.raises(DataError, match=match):
        trainer_of(model, data, max_steps=1, callbacks=[MustNotBegin()], **options).train()


def test_labels_and_texts_that_a_model_of_transformers_cannot_take():
    bert = tiny.bert()
    counted_from_1 = [1 + n % 3 for n in range(11)]
    refused(bert, tiny.texts(11, label=counted_from_1), r"'label' go from 1 to 3, and TFBertFor.* the classes 0 to 2")
    refused(bert, tiny.texts(11, label=[-1, *[0] * 10]), "go from -1 to 0")
    refused(bert, tiny.texts(11, label=[[1.0, 0.0, 1.0]] * 11), r"have the shape \[11, 3\]: one-hot, or several labels")
    refused(bert, tiny.texts(11, label=[0.5] * 11), "are fractions, such as 0.5.*load the model with num_labels=1")
    ids = np.full((11, 40), 5)
    message = r"rows of up to 40 tokens, and TFBert.* has positions for 32.*truncation=True, max_length=32"
    refused(bert, datasets.Dataset.from_dict({"input_ids": ids, "label": [0] * 11}), message)
    refused(bert, ({"input_ids": ids}, np.zeros(11, int)), message)
    refused(bert, ({"input_ids": ids[:, :9]}, np.full(11, 3)), "'y' go from 3 to 3")
    unbuilt = transformers.TFBertForSequenceClassification(tiny.bert_config())
    refused(unbuilt, datasets.Dataset.from_dict({"input_ids": ids, "label": [0] * 11}), message)
    refused(tiny.distilbert(), tiny.texts(11, labels=[[-100, 4, 1]] * 11), "go from 1 to 4")
    refused(tiny.gpt2(), tiny.texts(11, labels=[[0, tiny.VOCAB_SIZE]] * 11), r"resize_token_embeddings")


@pytest.mark.nightly
def test_what_fits_is_left_alone():
    """-100, whole numbers as floats, a loss of one's own, regression, and positions that are relative."""
    training_batches(tiny.tagged(), 4, model=tiny.distilbert(), processing_class=tiny.tokenizer())
    t5 = tiny.t5()
    training_batches(datasets.Dataset.from_dict({"input_ids": np.full((4, 99), 5)}), 4, model=t5)
    bert = tiny.bert()
    assert trainer_of(bert, tiny.texts(11, label=[2.0] * 11), max_steps=1, save_strategy="no").train().global_step == 1
    several = tiny.bert()
    several.compile(loss=tf_keras.losses.BinaryCrossentropy(from_logits=True))
    labels = tiny.texts(11, label=[[1.0, 0.0, 1.0]] * 11)
    assert trainer_of(several, labels, max_steps=1, save_strategy="no").train().global_step == 1
    one = tiny.bert(num_labels=1)
    assert trainer_of(one, tiny.texts(11, label=[7.5] * 11), max_steps=1, save_strategy="no").train().global_step == 1


@pytest.mark.parametrize("kind", KERASES)
def test_labels_that_a_plain_model_cannot_take(kind):
    x, y = samples(11)
    model = tiny.functional(kind)
    refused(
        model, ({"x": x}, y + 1), "'y' go from 1 to 3, and Functional has the classes 0 to 2. .* units as there are"
    )
    refused(model, ({"x": x}, np.eye(3, dtype="float32")[y]), r"'y' have the shape \[11, 3\]: one-hot")


@pytest.mark.parametrize(("kind", "other"), [("tf_keras", "keras"), ("keras", "tf_keras")])
def test_what_belongs_to_the_other_keras(kind, other):
    foreign = importlib.import_module(other)
    data = tiny.named(samples(11))
    schedule = foreign.optimizers.schedules.CosineDecay(1e-3, 10)
    for optimizers in ((foreign.optimizers.Adam(), None), (None, schedule)):
        with pytest.raises(
            SettingError, match=rf"optimizers='{other}\..* cannot be used. Expected one of {kind}, which"
        ):
            trainer_of(tiny.functional(kind), data, optimizers=optimizers)


def test_metrics_of_the_other_keras():
    """Keras 3 takes those of tf_keras when it compiles; tf_keras refuses those of Keras 3 itself."""
    model = tiny.functional("keras", metrics=[tf_keras.metrics.SparseCategoricalAccuracy()])
    with pytest.raises(SettingError, match=r"model.compile\(metrics\)='tf_keras\..*take it from keras.metrics"):
        trainer_of(model, tiny.named(samples(11)))
