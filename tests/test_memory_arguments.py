"""skip_memory_metrics and auto_find_batch_size."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tensorflow as tf
import tiny
from helpers import KERASES, finish, history, needs, nightly, samples, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.trainer.memory_metrics import MemoryMetrics

pytestmark = pytest.mark.keras3

MEGABYTE = 2**20


def trainer_of(model, data, **options):
    defaults = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "max_steps": 3}
    return TFTrainer(model, TFTrainingArguments(**{**defaults, **options}), train_dataset=data, eval_dataset=data)


# Memory


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_metrics_of_memory(kind):
    data = tiny.named(samples(12))
    trainer = trainer_of(tiny.functional(kind), data, skip_memory_metrics=False, eval_strategy="steps", eval_steps=1)
    metrics = trainer.train().metrics
    of_stage = {"train_mem_cpu_alloc_delta", "train_mem_cpu_peaked_delta"}
    of_constructor = {"init_mem_cpu_alloc_delta", "init_mem_cpu_peaked_delta", "before_init_mem_cpu"}
    assert {name for name in metrics if "mem" in name} == of_stage | of_constructor
    assert metrics["before_init_mem_cpu"] > 50 * MEGABYTE
    assert all(type(metrics[name]) is int for name in of_stage | of_constructor)
    evaluated = {name for name in trainer.evaluate() if "mem" in name}
    assert evaluated == {"eval_mem_cpu_alloc_delta", "eval_mem_cpu_peaked_delta"}
    predicted = {name for name in trainer.predict(data).metrics if "mem" in name}
    assert predicted == {"test_mem_cpu_alloc_delta", "test_mem_cpu_peaked_delta"}


@needs("tf_keras")
def test_memory_is_not_measured_unless_asked_for():
    trainer = trainer_of(tiny.functional("tf_keras"), tiny.named(samples(12)))
    metrics = {**trainer.train().metrics, **trainer.evaluate()}
    assert not [name for name in metrics if "mem" in name]


@needs("tf_keras")
def test_what_stays_and_what_was_there_in_between():
    host = trainer_of(tiny.functional("tf_keras"), tiny.named(samples(12)))._host
    memory = MemoryMetrics(True, host)
    end = memory.begin("train", True)
    passing = np.ones(300 * MEGABYTE, np.uint8)
    del passing
    staying = np.ones(100 * MEGABYTE, np.uint8)
    found = end()
    assert found["train_mem_cpu_alloc_delta"] == pytest.approx(100 * MEGABYTE, abs=20 * MEGABYTE)
    assert found["train_mem_cpu_peaked_delta"] == pytest.approx(200 * MEGABYTE, abs=20 * MEGABYTE)
    end = memory.begin("eval", True)
    del staying
    found = end()
    assert found["eval_mem_cpu_alloc_delta"] == pytest.approx(-100 * MEGABYTE, abs=20 * MEGABYTE)
    assert found["eval_mem_cpu_peaked_delta"] == pytest.approx(100 * MEGABYTE, abs=20 * MEGABYTE)


# Batch sizes


def hungry(kind: str, largest: int, *, after: int = 0):
    """A model whose training does not fit into any memory with larger batches than that, from some step on."""
    keras = importlib.import_module(kind)
    counter = tf.Variable(0, trainable=False)

    class Hungry(keras.layers.Layer):
        def call(self, x, training=False):
            if not training:
                return x
            is_too_much = tf.logical_and(tf.shape(x)[0] > largest, counter.assign_add(1) > after)
            number = tf.where(is_too_much, tf.constant(2**55, tf.int64), 1)
            return x + tf.reduce_sum(tf.random.stateless_uniform([number], [1, 2]))

    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="x")
    model = keras.Model({"x": x}, keras.layers.Dense(3)(Hungry()(x)))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_the_batch_size_is_halved_until_a_step_fits(kind, caplog):
    data = tiny.named(samples(48))
    options = {"auto_find_batch_size": True, "learning_rate": 0.1, "logging_steps": 1, "report_to": "wandb"}
    trainer = trainer_of(hungry(kind, 5), data, per_device_train_batch_size=16, **options)
    assert trainer.train().global_step == 3
    assert trainer.args.per_device_train_batch_size == 4
    said = [record.getMessage() for record in caplog.records if record.name == "tf_hfwb"]
    assert ["=16" in said[0], "=8" in said[1], len(said)] == [True, True, 2]
    directory = finish()
    assert [row["train/global_step"] for row in train_rows(history(directory))] == [1, 2, 3]
    other = trainer_of(hungry(kind, 5), data, per_device_train_batch_size=4, learning_rate=0.1)
    other.train()
    for one, two in zip(trainer.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KERASES)
def test_an_optimizer_of_the_user_begins_anew(kind):
    keras = importlib.import_module(kind)
    trainers = []
    for size in (16, 4):
        args = {"auto_find_batch_size": True, "per_device_train_batch_size": size, "report_to": "none", "max_steps": 3}
        args = TFTrainingArguments(disable_tqdm=True, save_strategy="no", **args)
        optimizers = keras.optimizers.Adam(0.1), None
        data = tiny.named(samples(48))
        trainers.append(TFTrainer(hungry(kind, 5), args, train_dataset=data, optimizers=optimizers))
        assert trainers[-1].train().global_step == 3
        assert int(optimizers[0].iterations) == 3
    for one, two in zip(*(trainer.model.get_weights() for trainer in trainers), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.nightly
def test_nothing_smaller_than_one_sample():
    trainer = trainer_of(hungry("tf_keras", 0), tiny.named(samples(8)), auto_find_batch_size=True)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        trainer.train()
    assert trainer.args.per_device_train_batch_size == 1


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("options", "after"),
    [nightly({}, 0), ({"auto_find_batch_size": True}, 2), nightly({"auto_find_batch_size": True}, -1)],
)
def test_other_failures_end_the_training(options, after):
    """Without the argument; after the first step; in batches that are made elsewhere."""
    data = tiny.named(samples(48))
    if after < 0:
        data = tf.data.Dataset.from_tensor_slices(data).batch(8)
    trainer = trainer_of(hungry("tf_keras", 2, after=after), data, **options)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        trainer.train()
    assert trainer.args.per_device_train_batch_size == 8


@pytest.mark.nightly
def test_a_resumed_training_has_the_size_that_was_found():
    options = {"auto_find_batch_size": True, "per_device_train_batch_size": 16, "output_dir": "out"}
    data = tiny.named(samples(48))
    first = trainer_of(hungry("tf_keras", 5), data, save_strategy="steps", save_steps=2, max_steps=2, **options)
    first.train()
    resumed = trainer_of(hungry("tf_keras", 99), data, **options)
    assert resumed.train(resume_from_checkpoint=True).global_step == 3
    assert resumed.args.per_device_train_batch_size == 4
