"""A training of a Keras 3 model on PyTorch, in a process of its own, that can be killed and resumed.

    python torch_training.py DIRECTORY DATA KILL_AT|- [resume]

It prints the digests of all that a training changes when it has ended.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys

import keras
import numpy as np
import torch

from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint, restore


class KillAt(keras.callbacks.Callback):
    """Kills the process in the middle of an epoch, when a checkpoint of a step before is complete."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step, self.batches = step, 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


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


def data_of(kind: str) -> tuple[dict, dict]:
    """The data of ``fit``, and further arguments."""
    random = np.random.default_rng(0)
    x = random.normal(size=(41, 4)).astype("float32")
    y = np.argmax(x[:, :3], axis=1)
    match kind:
        case "arrays":
            return {"x": x, "y": y, "batch_size": 4}, {"shuffle": False}
        case "shuffled":
            return {"x": x, "y": y, "batch_size": 4}, {}
        case "short_epochs":
            return {"x": x, "y": y, "batch_size": 4}, {"steps_per_epoch": 7}
        case "validated":
            return {"x": x, "y": y, "batch_size": 4}, {"validation_split": 0.3}
        case "loader":
            dataset = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
            return {"x": torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True)}, {}
    raise ValueError(kind)


def main(directory: str, kind: str, kill_at: str, resume: bool) -> None:
    model = model_of()
    if resume:
        print("resumed at", restore(model, directory))
    data, more = data_of(kind)
    saver = WandbModelCheckpoint(directory, save_freq=3)
    callbacks = [WandbMetricsLogger(log_freq=1), saver]
    if kill_at != "-":
        callbacks.append(KillAt(int(kill_at)))
    history = model.fit(**data, **more, epochs=3, callbacks=callbacks, verbose=0)
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    for variable in variables:
        print(variable.path.split("/")[-1], hashlib.sha256(np.array(variable).tobytes()).hexdigest()[:12])
    print({name: values[-1] for name, values in history.history.items()})
    print(hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()[:12])


if __name__ == "__main__":
    main(*sys.argv[1:4], resume="resume" in sys.argv[4:])
