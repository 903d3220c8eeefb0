"""A training of a Keras 3 model on PyTorch that can be interrupted and resumed, also as a process of its own.

    python torch_training.py DIRECTORY KIND [kill | resume]

A process prints the digest of all that a training changes.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys

import keras
import numpy as np
import torch

from tf_hfwb import WandbModelCheckpoint, restore

INTERRUPTED_AT = 14
SAVE_FREQ = 3


class InterruptAt(keras.callbacks.Callback):
    """Interrupts a training in the middle of an epoch, between two checkpoints."""

    def __init__(self, interrupt) -> None:
        super().__init__()
        self.interrupt, self.batches = interrupt, 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == INTERRUPTED_AT:
            self.interrupt()


def model_of() -> keras.Model:
    """With a dropout that has a seed, one that draws from PyTorch's generator, and statistics that are not trained."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(8, activation="tanh"),
            layers.Dropout(0.3),
            layers.BatchNormalization(),
            layers.Dropout(0.3, seed=5),
            layers.GaussianNoise(0.1),
            layers.Dense(3),
        ]
    )
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, 30)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def data_of(kind: str) -> dict:
    """Arguments of ``fit``."""
    random = np.random.default_rng(0)
    x = random.normal(size=(41, 4)).astype("float32")
    y = np.argmax(x[:, :3], axis=1)
    arrays = {"x": x, "y": y, "batch_size": 4}
    match kind:
        case "arrays":
            return {**arrays, "shuffle": False}
        case "shuffled":
            return arrays
        case "short_epochs":
            return {**arrays, "steps_per_epoch": 6}
        case "validated":
            return {**arrays, "validation_split": 0.3}
        case "loader":
            dataset = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
            return {"x": torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True)}
    raise ValueError(kind)


def train(directory: str, kind: str, *, resume: bool = False, interrupt=None, save_freq=SAVE_FREQ, epochs=3):
    """Train to the end or until it is interrupted; returns the model and the history."""
    model = model_of()
    if resume:
        position = restore(model, directory)
        if interrupt is None and save_freq == SAVE_FREQ:
            assert position.batch, "The test is of a resumption in the middle of an epoch."
    callbacks = [WandbModelCheckpoint(directory, save_freq=save_freq)]
    if interrupt is not None:
        callbacks.append(InterruptAt(interrupt))
    history = model.fit(**data_of(kind), epochs=epochs, callbacks=callbacks, verbose=0)
    return model, history.history


def state_of(model: keras.Model) -> dict[str, np.ndarray]:
    """All that a training changes."""
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    values = {str(place): keras.ops.convert_to_numpy(v.value) for place, v in enumerate(variables)}
    return {**values, "generator": torch.get_rng_state().numpy()}


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(directory: str, kind: str, what: str = "") -> None:
    model, history = train(directory, kind, resume=what == "resume", interrupt=kill if what == "kill" else None)
    digest = hashlib.sha256(b"".join(value.tobytes() for value in state_of(model).values())).hexdigest()
    print(digest, {name: values[-1] for name, values in history.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
