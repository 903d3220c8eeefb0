"""The checks of ``run.sh``, each in a process of its own, since TensorFlow keeps what a process has set up of a GPU.

python tests/gpu/gpu_checks.py                # all of them, and a table
python tests/gpu/gpu_checks.py --rehearse     # on the CPU with a small model: only to see that they run
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

import numpy as np

SECONDS = 240  # That a check may take.
MIB = 2**20


@dataclass(frozen=True)
class Bound:
    """What a value must not exceed.

    Attributes:
        name: The value's.
        most: The bound.
        unit: Of both.
        why: Where the bound comes from.
    """

    name: str
    most: float
    unit: str
    why: str


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


def off(found: np.ndarray, expected: np.ndarray) -> float:
    """How far the means are from each other; infinitely where a loss is no number or some are missing."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(abs(found.mean() - expected.mean()) / expected.mean())


CHECKS: dict[str, Callable[[Workload], list[float]]] = {
    "snapshot memory": check_snapshot_memory,
    "stall of a save": check_stall,
    "logging cost": check_logging,
    "float16": lambda load: check_precision(load, fp16=True),
    "bfloat16": lambda load: check_precision(load, bf16=True),
    "MirroredStrategy": check_mirrored,
    "XLA": check_xla,
}


def names_of_gpus() -> list[str]:
    """The GPUs that TensorFlow can use, as another process sees them."""
    program = (
        "import json, tensorflow as tf\n"
        "found = [tf.config.experimental.get_device_details(one).get('device_name', one.name)\n"
        "         for one in tf.config.list_physical_devices('GPU')]\n"
        "print(json.dumps(found))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"TensorFlow cannot be asked for its GPUs:\n{ended.stderr}")
    return json.loads(ended.stdout.splitlines()[-1])


def run_check(name: str, *, rehearse: bool) -> list[float] | str:
    """What a check has found, in a process of its own; or why it has found nothing."""
    command = [sys.executable, __file__, "--only", name, *(["--rehearse"] if rehearse else [])]
    with tempfile.TemporaryDirectory() as folder:
        try:
            ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return f"not done after {SECONDS} s"
    if ended.returncode:
        return (ended.stderr.strip().splitlines() or ["no message"])[-1][:200]
    return json.loads(ended.stdout.splitlines()[-1])


def table_of(found: dict[str, list[float] | str]) -> tuple[list[str], bool]:
    """The lines of the table, and whether every value is within its bound."""
    lines, is_good = [f"{'check':18}{'value':28}{'found':>10}{'at most':>10}  unit"], True
    for name, values in found.items():
        if isinstance(values, str):
            lines.append(f"{name:18}FAILED: {values}")
            is_good = False
            continue
        for bound, value in zip(BOUNDS[name], values, strict=True):
            is_within = value <= bound.most  # NaN is not.
            is_good = is_good and is_within
            end = "" if is_within else f"  OUT OF BOUNDS ({bound.why})"
            lines.append(f"{name:18}{bound.name:28}{value:10.3f}{bound.most:10.3f}  {bound.unit}{end}")
    return lines, is_good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with a small model; judges nothing")
    parser.add_argument("--only", choices=CHECKS, help="one check, which prints what it has found")
    arguments = parser.parse_args()
    if arguments.rehearse:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if arguments.only:
        sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
        print(json.dumps(CHECKS[arguments.only](Workload(small=arguments.rehearse))))
        return 0
    gpus = names_of_gpus()
    if not gpus and not arguments.rehearse:
        print("There is no GPU here that TensorFlow can use. Nothing was checked, and nothing is claimed.")
        return 0
    print("A rehearsal on the CPU, which judges nothing" if arguments.rehearse else f"On {', '.join(gpus)}", flush=True)
    found = {}
    for name in CHECKS:
        began = time.perf_counter()
        found[name] = run_check(name, rehearse=arguments.rehearse)
        print(f"  {name}: {time.perf_counter() - began:.0f} s", flush=True)
    lines, is_good = table_of(found)
    print(*lines, sep="\n")
    if arguments.rehearse:
        return int(any(isinstance(values, str) for values in found.values()))
    print("All values are within their bounds." if is_good else "Not all values are within their bounds.")
    return int(not is_good)


if __name__ == "__main__":
    sys.exit(main())
