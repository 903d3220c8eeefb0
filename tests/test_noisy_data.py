"""Data that draws random numbers of this process while it is read: a resumed training reads the same again."""

from __future__ import annotations

import random

import numpy as np
import pytest
from helpers import nightly, samples

from tf_hfwb import WandbModelCheckpoint, restore

keras = pytest.importorskip("keras")
BACKEND = keras.backend.backend()
pytestmark = [
    pytest.mark.core,
    pytest.mark.torch,
    pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow reads in threads of its own"),
]
X, Y = samples(20)


def noisy(x):
    """The samples with noise of all generators that a process has."""
    x = x * random.uniform(0.9, 1.1) + np.random.normal(size=np.shape(x)).astype("float32")
    if BACKEND == "torch":
        import torch

        x = x + torch.randn(np.shape(x)).numpy()
    return x


class Noisy(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, place):
        return noisy(X[4 * place :][:4]), Y[4 * place :][:4]


def noisy_loader():
    from torch.utils.data import DataLoader

    return DataLoader([*zip(X, Y, strict=True)], 4, shuffle=True, collate_fn=collated)


def collated(rows):
    import torch

    x, y = zip(*rows, strict=True)
    return torch.tensor(noisy(np.stack(x))), torch.tensor(np.stack(y))


DATA = {
    "dataset": lambda: {"x": Noisy(), "shuffle": False},
    "arrays": lambda: {"x": X, "y": Y, "batch_size": 4, "shuffle": True},
    "loader": lambda: {"x": noisy_loader()},
}


class Draws(keras.callbacks.Callback):
    """Draws numbers between the steps."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.drawn.append((random.random(), np.random.random()))


def train(directory, data, start=None):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, activation="tanh"), keras.layers.Dropout(0.3), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(keras.optimizers.Adam(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.drawn = []
    if start is not None:
        keras.utils.set_random_seed(5)
        restore(model, start)
    saver = WandbModelCheckpoint(directory, save_freq=2, log_model="false")
    model.fit(**DATA[data](), epochs=2, verbose=0, callbacks=[Draws(), saver])
    return [*model.drawn], [np.asarray(keras.ops.convert_to_numpy(one)) for one in model.variables]


@pytest.mark.parametrize("data", ["dataset", nightly("arrays"), nightly("loader")])
def test_any_step_reads_the_same_again(data, tmp_path):
    if data == "loader" and BACKEND != "torch":
        pytest.skip("a loader of PyTorch")
    drawn, weights = train(tmp_path / "whole", data)
    for step in (2, 4, 8):
        found, ends = train(tmp_path / f"from-{step}", data, tmp_path / "whole" / f"checkpoint-{step}")
        assert found == drawn[step:]
        for one, other in zip(weights, ends, strict=True):
            np.testing.assert_array_equal(one, other)
