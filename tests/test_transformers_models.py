"""WandbMetricsLogger on plain ``fit`` of transformers' TF models, which compute their loss themselves."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import transformers
from helpers import eval_rows, finish, history, records, train_rows

from tf_hfwb import WandbMetricsLogger

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


def bert(**config):
    return transformers.TFBertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=30, **TINY, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3, **config
        )
    )


def texts(number: int, length: int = 6) -> tf.data.Dataset:
    random = np.random.default_rng(0)
    inputs = {"input_ids": random.integers(0, 30, (number, length)), "attention_mask": np.ones((number, length), int)}
    return tf.data.Dataset.from_tensor_slices((inputs, random.integers(0, 3, number)))


def test_internal_loss_and_the_schedule_of_create_optimizer():
    model = bert()
    optimizer, schedule = transformers.create_optimizer(1e-3, num_train_steps=12, num_warmup_steps=4)
    model.compile(optimizer)
    dataset = texts(23).batch(4)
    model.fit(dataset, epochs=2, validation_data=dataset, verbose=0, callbacks=[WandbMetricsLogger("batch")])
    rows = history(finish())
    assert [row["train/global_step"] for row in train_rows(rows)] == list(range(1, 13))
    expected = [float(schedule(step)) for step in range(12)]
    np.testing.assert_allclose(
        [row["train/learning_rate"] for row in train_rows(rows)], expected, rtol=1e-5, atol=1e-12
    )
    assert len(eval_rows(rows)) == 2
    assert eval_rows(rows)[0]["eval/samples_per_second"] * eval_rows(rows)[0]["eval/runtime"] == pytest.approx(23)


def test_the_internal_loss_of_each_batch_is_logged():
    model = bert()
    model.compile(tf_keras.optimizers.SGD(0.0))
    dataset = texts(23).batch(4)
    losses = [float(tf.reduce_mean(model({**x, "labels": y}).loss)) for x, y in dataset]
    model.fit(dataset, verbose=0, callbacks=[WandbMetricsLogger(2)])
    rows = train_rows(history(finish()))
    np.testing.assert_allclose([row["train/loss"] for row in rows], np.reshape(losses, (3, 2)).mean(axis=1), rtol=1e-5)


def test_the_models_config_is_the_runs_and_secrets_are_not():
    model = bert(hub_token="hf_" + "x" * 30)
    model.compile("sgd", loss="auto")
    model.fit(texts(4).batch(4), verbose=0, callbacks=[WandbMetricsLogger(config={"seed": 3})])
    found: dict = {}
    log = records(finish())
    for record in log:
        found |= record.get("config", {}).get("update", {}) if record["type"] == "config" else {}
    assert found["hidden_size"] == 8
    assert found["seed"] == 3
    assert found["model/num_parameters"] == model.count_params()
    assert found["optimizer"]["name"].lower() == "sgd"
    assert found["versions/transformers"] == transformers.__version__
    assert "xxxxxxxx" not in str(log)
