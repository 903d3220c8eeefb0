"""What a save of a LoRA training costs: adapters beside a base that is written once, and whole checkpoints.

    python benchmarks/lora_checkpoints.py                      # about 3 minutes on two quiet cores
    KERAS_BACKEND=jax python benchmarks/lora_checkpoints.py
    python benchmarks/lora_checkpoints.py --quick              # a small model: only to see that it runs

Dense layers of 59 M parameters with LoRA of rank 8 on each, and a head that is trained; offline runs, everything in a
temporary directory. Both kinds train in turn. Rows, medians over the saves but the first, with the quartiles:

* ``written``: MiB on disk for each checkpoint, without what it shares with an earlier one;
* ``blocked``: milliseconds that the step beside which a save begins takes more than a calm one;
* ``first save``: the same of the first save of a training, which takes the base as well.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"

import keras
import numpy as np

from tf_hfwb import WandbModelCheckpoint
from tf_hfwb.keras_compat.keras3_host import Keras3Host

EVERY = 12  # Steps between two saves; a save of a whole checkpoint is complete before the next.
ADAPTERS, WHOLE = "adapters", "whole"


class Watch(keras.callbacks.Callback):
    """The seconds from the end of each step to that of the next, in which a save that is due begins."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._last = 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._last if batch else 0.0)
        self._last = now


def model_of(width: int, depth: int) -> Any:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(width, activation="relu") for _ in range(depth)]
    model = keras.Sequential([keras.Input((width,)), *layers, keras.layers.Dense(2)])
    for layer in layers:
        layer.enable_lora(8)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def train(kind: str, width: int, depth: int, saves: int) -> tuple[list[float], list[float]]:
    """MiB of each checkpoint but the first, and extra milliseconds of each save."""
    steps = EVERY * saves + EVERY // 2
    x = np.random.default_rng(0).normal(size=(4 * steps, width)).astype("float32")
    watch, whole = Watch(), mock.patch.object(Keras3Host, "lora_files", return_value=None)
    with tempfile.TemporaryDirectory() as name:
        save = WandbModelCheckpoint(name, save_freq=EVERY, log_model="false")
        model = model_of(width, depth)
        if kind == WHOLE:
            whole.start()
        model.fit(x, np.arange(len(x)) % 2, batch_size=4, shuffle=False, verbose=0, callbacks=[save, watch])
        if kind == WHOLE:
            whole.stop()
        checkpoints = sorted(pathlib.Path(name).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        seen: set[int] = set()
        sizes = []
        for path in checkpoints[:saves]:
            files = {file.stat().st_ino: file.stat().st_size for file in path.rglob("*") if file.is_file()}
            sizes.append(sum(size for inode, size in files.items() if inode not in seen) / (1 << 20))
            seen |= files.keys()
    calm = statistics.median(
        value for step, value in enumerate(watch.seconds) if step > EVERY and step % EVERY >= EVERY // 2
    )
    return sizes[1:], [1000 * (watch.seconds[EVERY * n] - calm) for n in range(1, saves + 1)]


def described(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return f"{middle:8.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="trainings of each kind")
    parser.add_argument("--quick", action="store_true", help="a small model and two saves")
    arguments = parser.parse_args()
    width, depth, saves = (64, 2, 2) if arguments.quick else (2048, 14, 5)
    print(f"{model_of(width, depth).count_params() / 1e6:.1f} M parameters on {keras.backend.backend()}")
    found: dict[str, dict[str, list[float]]] = {
        kind: {"written": [], "blocked": [], "first save": []} for kind in (WHOLE, ADAPTERS)
    }
    for _ in range(1 if arguments.quick else arguments.repeats):
        for kind, columns in found.items():
            sizes, extra = train(kind, width, depth, saves)
            columns["written"] += sizes
            columns["blocked"] += extra[1:]
            columns["first save"] += extra[:1]
    for name, unit in (("written", "MiB"), ("blocked", "ms"), ("first save", "ms")):
        whole, adapters = found[WHOLE][name], found[ADAPTERS][name]
        print(f"{name:10}  whole {described(whole)}  adapters {described(adapters)} {unit}")
        if name == "written":
            print(f"{'':10}  ratio {statistics.median(adapters) / statistics.median(whole):.3f}")


if __name__ == "__main__":
    main()
