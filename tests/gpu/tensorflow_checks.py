"""The checks of ``run.sh`` for TensorFlow, each in a process of its own, since that keeps what was set up of a GPU.

python tests/gpu/tensorflow_checks.py                # all of them, and a table
python tests/gpu/tensorflow_checks.py --rehearse     # on the CPU with a small model: only to see that they run
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

import numpy as np
from check_suite import Bound, Suite, off

BOUNDS = {
    "snapshot memory": [
        Bound("held during a save", 1.1, "states", "old values stay until they are on the disk, once"),
        Bound("held after it", 0.02, "states", "nothing stays"),
    ],
    "stall of a save": [
        Bound("training thread", 3.0, "steps", "a save takes references, and copies nothing"),
        Bound("the five steps behind it", 5.0, "steps", "their values are read while training goes on"),
    ],
    "logging cost": [Bound("a row at each step", 1.05, "times bare", "rows are written on another thread")],
    "float16": [Bound("loss over float32's", 0.1, "of it", "the same training, rounded")],
    "bfloat16": [Bound("loss over float32's", 0.1, "of it", "the same training, rounded")],
    "MirroredStrategy": [Bound("loss from one device's", 0.01, "of it", "the same batches, in another order of sums")],
    "XLA": [Bound("loss from that without it", 0.01, "of it", "the same operations, fused")],
}


class Workload:
    """A BERT, and trainings of it on one batch again and again."""

    def __init__(self, *, small: bool) -> None:
        self.size = {"layers": 1, "width": 32} if small else {"layers": 12, "width": 768}
        self.length, self.batch = (16, 4) if small else (128, 16)
        random = np.random.default_rng(0)
        shape = (self.batch, self.length)
        self.tokens = random.integers(0, 1000, shape).astype("int32")
        self.labels = random.integers(0, 2, (self.batch,)).astype("int64")

    def model(self) -> Any:
        import tf_keras
        import transformers

        tf_keras.utils.set_random_seed(0)
        width = self.size["width"]
        return transformers.TFBertForSequenceClassification(
            transformers.BertConfig(
                vocab_size=30522 if width > 32 else 1000,
                hidden_size=width,
                num_hidden_layers=self.size["layers"],
                num_attention_heads=max(2, width // 64),
                intermediate_size=4 * width,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
        )

    def dataset(self, steps: int) -> Any:
        import tensorflow as tf

        batch = ({"input_ids": self.tokens}, self.labels)
        return tf.data.Dataset.from_tensors(batch).repeat(steps)

    def train(self, model: Any, steps: int, callbacks: Any = (), **options: Any) -> Any:
        """A trainer that has trained the model so many steps."""
        from tf_hfwb import TFTrainer, TFTrainingArguments

        defaults = {
            "num_train_epochs": 1,
            "learning_rate": 1e-4,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }
        args = TFTrainingArguments("out", **{**defaults, **options})
        trainer = TFTrainer(model, args, train_dataset=self.dataset(steps), callbacks=list(callbacks))
        trainer.train()
        return trainer

    def losses(self, steps: int, model: Any = None, **options: Any) -> np.ndarray:
        """The loss of each step."""
        trainer = self.train(self.model() if model is None else model, steps, **options)
        return np.array([row["loss"] for row in trainer.state.log_history if "loss" in row])


def step_times() -> Any:
    """A callback that notes when each step has ended, in ``ended``, and the memory then, in ``memory``."""
    import tf_keras

    class Times(tf_keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.ended: list[float] = []
            self.memory: list[int] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            float(np.asarray(logs["loss"]))  # Waits for the device.
            self.ended.append(time.perf_counter())
            self.memory.append(device_memory())

    return Times()


def device_memory() -> int:
    """Bytes of the first GPU that are in use; 0 without one."""
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return 0
    return int(tf.config.experimental.get_memory_info("GPU:0")["current"])


def check_snapshot_memory(load: Workload) -> list[float]:
    """The memory of steps behind a save, over that of steps before the first one, in states."""
    times, model = step_times(), load.model()
    load.train(model, 60, [times], save_strategy="steps", save_steps=20)
    state = 3 * 4 * sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)  # With Adam's two moments.
    before = max(times.memory[10:20])
    gc.collect()
    return [(max(times.memory[20:]) - before) / state, (device_memory() - before) / state]


def check_stall(load: Workload) -> list[float]:
    """How much longer the steps with a save take, in steps."""
    times = step_times()
    load.train(load.model(), 120, [times], save_strategy="steps", save_steps=30)
    gaps = np.diff(times.ended)
    calm = float(np.median(gaps[15:29]))
    # The gap in front of step 31 has the save of step 30; the first save looks up what there is, and is left out.
    saves = [59, 89]
    stall = statistics.median(gaps[save] / calm - 1 for save in saves)
    behind = statistics.median(float(np.sum(gaps[save + 1 : save + 6])) / calm - 5 for save in saves)
    return [stall, behind]


def check_logging(load: Workload) -> list[float]:
    """The time of a step with a row at each, over that of one without rows."""
    from tf_hfwb import WandbMetricsLogger

    models = [compiled(load.model()) for _ in range(2)]
    found: list[list[float]] = [[], []]
    dataset = load.dataset(100)
    for repeat in range(6):
        for which in (0, 1) if repeat % 2 else (1, 0):
            callbacks = [WandbMetricsLogger(1)] if which else []
            began = time.perf_counter()
            models[which].fit(dataset, verbose=0, callbacks=callbacks)
            if repeat:  # The first one traces.
                found[which].append(time.perf_counter() - began)
    return [statistics.median(found[1]) / statistics.median(found[0])]


def compiled(model: Any) -> Any:
    import tf_keras

    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-5), loss=loss)
    return model


def check_precision(load: Workload, **options: Any) -> list[float]:
    """How far the mean loss of a training is from that of float32, as a part of it."""
    plain, reduced = load.losses(30), load.losses(30, **options)
    return [off(reduced, plain)]


def check_mirrored(load: Workload) -> list[float]:
    """On all GPUs, or on two parts of the only one."""
    import tensorflow as tf

    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    devices = tf.config.list_physical_devices(kind)
    if len(devices) == 1:
        options = {} if kind == "CPU" else {"memory_limit": 12 * 1024}
        tf.config.set_logical_device_configuration(
            devices[0], [tf.config.LogicalDeviceConfiguration(**options) for _ in range(2)]
        )
    names = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices(kind)][:2]
    plain = load.losses(20)
    # NCCL refuses two replicas on one GPU.
    strategy = tf.distribute.MirroredStrategy(names, tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        model = load.model()
    return [off(load.losses(20, model), plain)]


def check_xla(load: Workload) -> list[float]:
    return [off(load.losses(20, xla=True), load.losses(20))]


CHECKS: dict[str, Callable[[Workload], list[float]]] = {
    "snapshot memory": check_snapshot_memory,
    "stall of a save": check_stall,
    "logging cost": check_logging,
    "float16": lambda load: check_precision(load, fp16=True),
    "bfloat16": lambda load: check_precision(load, bf16=True),
    "MirroredStrategy": check_mirrored,
    "XLA": check_xla,
}


SUITE = Suite(
    framework="TensorFlow",
    script=__file__,
    program="""
import json, tensorflow as tf
found = [tf.config.experimental.get_device_details(one).get("device_name", one.name)
         for one in tf.config.list_physical_devices("GPU")]
print(json.dumps(found))
""",
    load=Workload,
    checks=CHECKS,
    bounds=BOUNDS,
)

if __name__ == "__main__":
    sys.exit(SUITE.main())
