"""The checks of ``run.sh`` for Keras 3 on JAX, without TensorFlow and transformers, each in a process of its own.

KERAS_BACKEND=jax python tests/gpu/jax_checks.py                # all of them, and a table
KERAS_BACKEND=jax python tests/gpu/jax_checks.py --rehearse     # on the CPU with a small model
"""

from __future__ import annotations

import gc
import os
import pathlib
import statistics
import sys
import time
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import numpy as np
from check_suite import Bound, Suite, off

BOUNDS = {
    "snapshot memory": [
        Bound("held during a save", 1.1, "states", "what is saved is on the device twice at most"),
        Bound("held after it", 0.02, "states", "nothing stays"),
    ],
    # JAX donates the buffers of a step to the next one, so a save copies them to the host at once.
    "stall of a save": [Bound("training thread", 2.0, "seconds", "a copy of the state to the host")],
    "logging cost": [Bound("a row at each step", 1.05, "times bare", "rows are written on another thread")],
    "bfloat16": [Bound("loss over float32's", 0.1, "of it", "the same training, rounded")],
    "resume": [Bound("weights from those without a stop", 0.0, "", "a resumed training is exact")],
}


class Workload:
    """A transformer of Keras's own layers, and trainings of it on one batch again and again."""

    def __init__(self, *, small: bool) -> None:
        self.layers, self.width = (1, 32) if small else (12, 768)
        self.length, self.batch = (16, 4) if small else (128, 16)
        random = np.random.default_rng(0)
        self.tokens = random.integers(0, 1000, (self.batch, self.length)).astype("int32")
        self.labels = random.integers(0, 2, (self.batch,)).astype("int64")

    def model(self, policy: str = "float32") -> Any:
        import keras

        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(policy)
        layers, width = keras.layers, self.width
        tokens = keras.Input((self.length,), dtype="int32")
        x = layers.Embedding(30522 if width > 32 else 1000, width)(tokens)
        for _ in range(self.layers):
            attended = layers.MultiHeadAttention(max(2, width // 64), width // max(2, width // 64))(x, x)
            x = layers.LayerNormalization()(x + attended)
            x = layers.LayerNormalization()(x + layers.Dense(width)(layers.Dense(4 * width, "gelu")(x)))
        logits = layers.Dense(2, dtype="float32")(layers.GlobalAveragePooling1D()(x))
        model = keras.Model(tokens, logits)
        model.compile(keras.optimizers.Adam(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    def fit(self, model: Any, steps: int, callbacks: Any = ()) -> None:
        x, y = (np.tile(array, (steps, *[1] * (array.ndim - 1))) for array in (self.tokens, self.labels))
        model.fit(x, y, batch_size=self.batch, shuffle=False, verbose=0, callbacks=list(callbacks))

    def losses(self, model: Any, steps: int) -> np.ndarray:
        """The loss of each step."""
        seen = step_watch()
        self.fit(model, steps, [seen])
        means = np.array(seen.losses)  # Of the epoch so far.
        counts = np.arange(1, len(means) + 1)
        return np.diff(means * counts, prepend=0.0)


def step_watch() -> Any:
    """A callback that notes of each step when it has ended, in ``ended``, the memory then, and the mean loss."""
    import keras

    class Watch(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.ended: list[float] = []
            self.memory: list[int] = []
            self.losses: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.losses.append(float(logs["loss"]))  # Waits for the device.
            self.ended.append(time.perf_counter())
            self.memory.append(device_memory())

    return Watch()


def device_memory() -> int:
    """Bytes of the first device that are in use; 0 where it does not tell."""
    import jax

    return int((jax.local_devices()[0].memory_stats() or {}).get("bytes_in_use", 0))


def saver(directory: str, every: int) -> Any:
    from tf_hfwb import WandbModelCheckpoint

    return WandbModelCheckpoint(directory, save_freq=every, log_model="false")


def check_snapshot_memory(load: Workload) -> list[float]:
    """The memory of steps behind a save, over that of steps before the first one, in states."""
    watch, model = step_watch(), load.model()
    load.fit(model, 60, [saver("out", 20), watch])
    state = 3 * 4 * model.count_params()  # With Adam's two moments.
    before = max(watch.memory[10:20])
    gc.collect()
    return [(max(watch.memory[20:]) - before) / state, (device_memory() - before) / state]


def check_stall(load: Workload) -> list[float]:
    """How much longer the steps with a save take, in seconds."""
    watch = step_watch()
    load.fit(load.model(), 120, [watch, saver("out", 30)])
    gaps = np.diff(watch.ended)
    # The first save looks up what there is, and is left out.
    return [statistics.median(gaps[save] for save in (59, 89)) - float(np.median(gaps[15:29]))]


def check_logging(load: Workload) -> list[float]:
    """The time of a fit with a row at each step, over that of one without rows."""
    from tf_hfwb import WandbMetricsLogger

    models = [load.model() for _ in range(2)]
    found: list[list[float]] = [[], []]
    for repeat in range(6):
        for which in (0, 1) if repeat % 2 else (1, 0):
            began = time.perf_counter()
            load.fit(models[which], 100, [WandbMetricsLogger(1)] if which else [])
            if repeat:  # The first one compiles.
                found[which].append(time.perf_counter() - began)
    return [statistics.median(found[1]) / statistics.median(found[0])]


def check_bfloat16(load: Workload) -> list[float]:
    return [off(load.losses(load.model("mixed_bfloat16"), 30), load.losses(load.model(), 30))]


def check_resume(load: Workload) -> list[float]:
    """The weights of a training that was restored in the middle, against those of one that was not stopped."""
    from tf_hfwb import restore

    whole, resumed = load.model(), load.model()
    load.fit(whole, 30, [saver("out", 15)])
    restore(resumed, pathlib.Path("out") / "checkpoint-15")
    load.fit(resumed, 30)
    pairs = zip(whole.get_weights(), resumed.get_weights(), strict=True)
    return [max(float(np.abs(one - other).max()) for one, other in pairs)]


CHECKS = {
    "snapshot memory": check_snapshot_memory,
    "stall of a save": check_stall,
    "logging cost": check_logging,
    "bfloat16": check_bfloat16,
    "resume": check_resume,
}

SUITE = Suite(
    framework="JAX",
    script=__file__,
    program="""
import json, jax
print(json.dumps([one.device_kind for one in jax.devices() if one.platform == "gpu"]))
""",
    load=Workload,
    checks=CHECKS,
    bounds=BOUNDS,
)

if __name__ == "__main__":
    sys.exit(SUITE.main())
