"""Loaders of Grain as the data of ``fit``: a resumed training gets the batches that it would have got."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pytest

from tf_hfwb import WandbModelCheckpoint, restore
from tf_hfwb.errors import DataError
from tf_hfwb.keras_compat import grain_states

grain = pytest.importorskip("grain")
pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="There tf.data reads the loader, in advance."),
]

STEPS = 5
X = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
Y = np.arange(23) % 2
READ = []


class Rows(grain.transforms.Map):
    def map(self, index):
        READ.append(int(index))
        return X[index], Y[index]


def shuffled_map():
    return grain.MapDataset.range(23).seed(4).shuffle().map(Rows()).repeat().batch(4)


def stream():
    data = grain.MapDataset.range(23).seed(4).shuffle().map(Rows()).repeat().to_iter_dataset()
    return grain.experimental.WindowShuffleIterDataset(data, window_size=6, seed=3).batch(4)


def loader():
    sampler = grain.samplers.IndexSampler(23, shard_options=grain.sharding.NoSharding(), shuffle=True, seed=5)
    return grain.DataLoader(
        data_source=range(23), sampler=sampler, operations=[Rows(), grain.transforms.Batch(4)], worker_count=0
    )


@pytest.fixture(autouse=True)
def no_run(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def train(data, start=None, callbacks=(), steps=STEPS, epochs=3):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.3), keras.layers.Dense(2)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    if start is not None:
        restore(model, start)
    READ.clear()
    model.fit(data, steps_per_epoch=steps, epochs=epochs, callbacks=list(callbacks), verbose=0)
    return [keras.ops.convert_to_numpy(value) for value in (*model.weights, *model.optimizer.variables)]


@pytest.mark.parametrize("make", [shuffled_map, stream, loader])
def test_a_resumed_training_gets_the_batches_that_it_would_have_got(make, tmp_path):
    whole = train(make(), callbacks=[WandbModelCheckpoint(tmp_path, save_freq=4)])
    read_by_all = len(READ)
    for step in (8, 12):
        resumed = train(make(), tmp_path / f"checkpoint-{step}", [WandbModelCheckpoint(tmp_path / "more")])
        for mine, other in zip(resumed, whole, strict=True):
            np.testing.assert_array_equal(mine, other)
    if make is shuffled_map:  # Those before step 12 are not read again, but for what Keras looks at.
        assert len(READ) < read_by_all - 8 * 4


def test_a_loader_that_another_training_had_is_refused(tmp_path):
    train(shuffled_map(), callbacks=[WandbModelCheckpoint(tmp_path, save_freq=4)])
    with pytest.raises(DataError, match=r"cannot be put to the state .* Expected the loader that the training had"):
        train(loader(), tmp_path / "checkpoint-8", [WandbModelCheckpoint(tmp_path / "more")])


def test_without_a_state_batches_are_read_again(tmp_path, monkeypatch, caplog):
    whole = train(shuffled_map(), callbacks=[WandbModelCheckpoint(tmp_path / "whole", save_freq=4)])
    monkeypatch.setattr(grain_states, "_as_text", lambda state: None)
    train(shuffled_map(), callbacks=[WandbModelCheckpoint(tmp_path / "none", save_freq=4)])
    with caplog.at_level(logging.WARNING, "tf_hfwb"):
        again = train(shuffled_map(), tmp_path / "none" / "checkpoint-8", [WandbModelCheckpoint(tmp_path / "more")])
    assert "The 8 batches before are read again" in caplog.text
    for mine, other in zip(again, whole, strict=True):
        np.testing.assert_array_equal(mine, other)
