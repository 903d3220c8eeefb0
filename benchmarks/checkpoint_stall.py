"""What a save costs a training: ours, and what other libraries write at the same steps of a plain ``fit``.

    python benchmarks/checkpoint_stall.py            # about 8 minutes on two quiet cores, Linux only
    python benchmarks/checkpoint_stall.py --quick    # a small model and two saves: only to see that it runs

A BERT of 22.7 M parameters with Adam, one process, offline runs, everything in a temporary directory. "A state" is the
weights and the optimizer, 260 MiB. Columns, medians over the saves:

* ``blocked``: milliseconds between the steps before and after the save, over the same between two other steps: the
  time for which the training thread does not train;
* ``first``: the same for the first save of a fit;
* ``next steps``: milliseconds that the five steps after a save take more than calm ones, together;
* ``worst step``: the longest of these, as a ratio to a calm one. Calm are the steps from the sixth after a save on,
  when it is completely written;
* ``durable``: seconds from the beginning of the save until it is complete on disk, while training goes on;
  with a ``~`` where nothing is synced, so that a power cut can take it;
* ``idle``: the same when nothing else is going on: for ours the save at the end of training;
* ``written``: bytes on disk for each save, in states. The .h5 and ``save_pretrained`` hold the weights only, Orbax
  compresses, W&B's own makes copies of what it logs;
* ``peak``: the resident memory's peak over the one before the first save, in states.

A save makes training longer by what all steps from it until it is complete take more than as many calm ones, with
what lies between them. The same of steps in a fit without saves shows the noise.

Orbax is left out if ``orbax-checkpoint`` is not installed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import gc
import itertools
import os
import pathlib
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"

import numpy as np
import tensorflow as tf
import tf_keras
import transformers
import wandb
from trained import batches, bert, compiled
from wandb.integration.keras import WandbModelCheckpoint as WandbsOwn

from tf_hfwb import WandbModelCheckpoint

AFFECTED = 5  # Steps after a save.
FULL = {"layers": 6, "width": 384, "heads": 12, "words": 30522, "widening": 4}
SMALL = {"layers": 2, "width": 64, "heads": 2, "words": 2000, "widening": 4}

tf.get_logger().setLevel("ERROR")
transformers.logging.set_verbosity_error()


def values(model) -> list[np.ndarray]:
    """The state, without copies."""
    return [np.asarray(variable.read_value()) for variable in (*model.weights, *model.optimizer.variables)]


# -- what is compared ----------------------------------------------------------------------------------------------


class WandbsOnTFKeras(tf_keras.callbacks.ModelCheckpoint):
    """W&B's callback derives from Keras 3's and fails on tf_keras; so tf_keras saves, and W&B's own method logs."""

    def on_train_batch_end(self, batch, logs=None):
        if self._should_save_on_batch(batch):
            self._save_model(epoch=self._current_epoch, batch=batch, logs=logs)
            path = self._get_file_path(epoch=self._current_epoch, batch=batch, logs=logs)
            WandbsOwn._log_ckpt_as_artifact(
                self, path, aliases=["latest", f"epoch_{self._current_epoch}_batch_{batch}"]
            )


class Every(tf_keras.callbacks.Callback):
    """Calls ``save`` with a path every so many steps, and ``finish`` at the end."""

    def __init__(self, root, every, save, finish=lambda: None):
        super().__init__()
        self._root, self._every, self._save, self._finish = root, every, save, finish

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % self._every == 0:
            self._save(str(self._root / f"save-{batch + 1}"))

    def on_train_end(self, logs=None):
        self._finish()


def tensorflows(root, every, model, **options):
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    options = tf.train.CheckpointOptions(**options)
    return Every(root, every, lambda path: checkpoint.write(path, options), checkpoint.sync)


def orbaxs(root, every, model):
    import orbax.checkpoint

    checkpointer = orbax.checkpoint.AsyncCheckpointer(orbax.checkpoint.PyTreeCheckpointHandler())

    def save(path):
        checkpointer.save(path, args=orbax.checkpoint.args.PyTreeSave(values(model)))

    return Every(root, every, save, checkpointer.close)


@dataclasses.dataclass
class Variant:
    make: Callable[[pathlib.Path, int, Any], Any]
    is_ours: bool = False
    has_run: bool = False
    pattern: str | None = None  # What is there, once for each complete save; None when a save blocks until it is.
    syncs: bool = False


BARE = "no saves"
OURS, LOGGED = "tf_hfwb", "tf_hfwb, logged"
WANDB_FULL, WANDB_WEIGHTS = "W&B's own, SavedModel", "W&B's own, weights .h5"
ORBAX = "Orbax, async"
_OURS = {"is_ours": True, "pattern": "checkpoint-*/manifest.json", "syncs": True}
VARIANTS = {
    BARE: Variant(lambda root, every, model: None, is_ours=True),
    OURS: Variant(lambda root, every, model: WandbModelCheckpoint(root, save_freq=every, log_model="false"), **_OURS),
    LOGGED: Variant(
        lambda root, every, model: WandbModelCheckpoint(root, save_freq=every, log_model="checkpoint"),
        has_run=True,
        **_OURS,
    ),
    ORBAX: Variant(orbaxs, pattern="save-*[0-9]", syncs=True),
    "tf.train.Checkpoint, async": Variant(
        lambda *place: tensorflows(*place, experimental_enable_async_checkpoint=True), pattern="save-*.index"
    ),
    "tf.train.Checkpoint": Variant(tensorflows),
    "tf_keras's, weights .h5": Variant(
        lambda root, every, model: tf_keras.callbacks.ModelCheckpoint(
            str(root / "{epoch}-{batch}.h5"), save_weights_only=True, save_freq=every
        )
    ),
    "save_pretrained": Variant(
        lambda root, every, model: Every(root, every, lambda path: model.save_pretrained(path, safe_serialization=True))
    ),
    WANDB_WEIGHTS: Variant(
        lambda root, every, model: WandbsOnTFKeras(
            str(root / "{epoch}-{batch}.h5"), save_weights_only=True, save_freq=every
        ),
        has_run=True,
    ),
    WANDB_FULL: Variant(
        lambda root, every, model: WandbsOnTFKeras(str(root / "{epoch}-{batch}"), save_freq=every), has_run=True
    ),
}


# -- measuring -----------------------------------------------------------------------------------------------------


class Steps:
    """Notes when each call of a model's compiled train function begins and returns."""

    def __init__(self, model):
        self._model, self._make = model, model.make_train_function
        self.begun: list[float] = []
        self.ended: list[float] = []
        model.make_train_function = self._make_timed

    def _make_timed(self, force=False):
        self._make(force=force)
        function = self._model.train_function
        if not hasattr(function, "is_timed") and not hasattr(function, "recorder"):  # That has a timed one inside.
            self._model.train_function = self._timed(function)
        return self._model.train_function

    def _timed(self, function):
        def timed(iterator):
            self.begun.append(time.perf_counter())
            outputs = function(iterator)
            self.ended.append(time.perf_counter())
            return outputs

        timed.is_timed = True
        return timed


class Sampler:
    """Looks every few milliseconds at the resident memory, and at how many saves are complete."""

    def __init__(self, root: pathlib.Path, pattern: str | None):
        self.memory: list[tuple[float, int]] = []
        self.complete: list[float] = []
        self._root, self._pattern = root, pattern
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _look(self):
        page = os.sysconf("SC_PAGE_SIZE")
        for turn in itertools.count():
            with open("/proc/self/statm") as file:
                self.memory.append((time.perf_counter(), page * int(file.read().split()[1])))
            over = self._stop.wait(0.005)
            if self._pattern is not None and (turn % 4 == 0 or over):
                complete = sum(1 for _ in self._root.glob(self._pattern))
                self.complete += [time.perf_counter()] * (complete - len(self.complete))
            if over:
                return

    def peak(self, begin: float, end: float) -> int:
        return max(memory for moment, memory in self.memory if begin <= moment <= end)


@contextlib.contextmanager
def directory() -> Iterator[pathlib.Path]:
    """A temporary one, in which W&B keeps its files, too."""
    root = pathlib.Path(tempfile.mkdtemp())
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        os.environ[name] = str(root / "wandb")
    (root / "wandb").mkdir()
    (root / "saves").mkdir()
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def size_of(root: pathlib.Path) -> int:
    found = {status.st_ino: status.st_size for path in root.rglob("*") if path.is_file() for status in [path.stat()]}
    return sum(found.values())


@dataclasses.dataclass
class Result:
    """One fit. Times in seconds, sizes in states."""

    step: float
    blocked: list[float] = dataclasses.field(default_factory=list)
    extra: list[float] = dataclasses.field(default_factory=list)
    worst: list[float] = dataclasses.field(default_factory=list)
    longer: list[float] = dataclasses.field(default_factory=list)
    durable: list[float] = dataclasses.field(default_factory=list)
    peak: list[float] = dataclasses.field(default_factory=list)
    written: float = 0.0
    idle: float | None = None


def fit(model, steps: Steps, variant: Variant, dataset: tf.data.Dataset, every: int, saves: int) -> Result:
    state = sum(value.nbytes for value in values(model))
    with directory() as root, wandb.init(project="benchmark") if variant.has_run else contextlib.nullcontext():
        callback = variant.make(root / "saves", every, model)
        end = 0.0
        if callback is not None:
            finish = callback.on_train_end

            def timed_finish(logs=None):
                nonlocal end
                begin = time.perf_counter()
                finish(logs)
                end = time.perf_counter() - begin

            callback.on_train_end = timed_finish
        gc.collect()
        gc.freeze()  # Else a collection of all that TensorFlow has made falls into some fits, and not into others.
        ctypes.CDLL(None).malloc_trim(0)  # Else a save may take the memory that another one has left.
        steps.begun.clear()
        steps.ended.clear()
        with Sampler(root / "saves", variant.pattern) as sampler:
            model.fit(dataset, callbacks=[] if callback is None else [callback], shuffle=False, verbose=0)
            begun, ended = list(steps.begun), list(steps.ended)
        written = size_of(root) / state
    model.fit(dataset.take(1), shuffle=False, verbose=0)  # The next fit begins at a multiple of ``every`` again.
    last = len(begun) - 1
    durations = [end - begin for begin, end in zip(begun, ended, strict=True)]
    gaps = [begin - end for begin, end in zip(begun[1:], ended, strict=False)]
    after = [number * every for number in range(1, saves + 1)]  # The steps that follow the saves.
    calm_gap = statistics.median(gap for index, gap in enumerate(gaps, 1) if index not in after)
    moments = [ended[index - 1] for index in after]
    if callback is None:
        complete = [begun[index + every // 2] for index in after]  # As long as ours takes, about.
    else:
        complete = [begun[index] for index in after] if variant.pattern is None else sampler.complete
    calm = []
    for index in range(2, last + 1):
        behind = index // every
        if behind == 0 or (index % every >= AFFECTED and begun[index] > complete[behind - 1]):
            calm.append(index)
    step = statistics.median(durations[index] for index in calm)
    period = statistics.mean(durations[index] for index in calm) + calm_gap
    result = Result(step)
    before = sampler.peak(begun[2], moments[0])
    for number, index in enumerate(after):
        following = durations[index : index + AFFECTED]
        until = moments[number + 1] if number + 1 < saves else ended[-1]
        result.blocked.append(gaps[index - 1] - calm_gap)
        over = next((i for i in range(index, last) if begun[i] >= complete[number]), last)
        result.longer.append(begun[over] - moments[number] - calm_gap - (over - index) * period)
        result.extra.append(sum(following) - AFFECTED * step)
        result.worst.append(max(following) / step)
        result.durable.append(complete[number] - moments[number])
        result.peak.append((sampler.peak(moments[number], until) - before) / state)
    if variant.syncs and variant.is_ours:
        saves += 1  # Ours saves the last step, too.
        result.idle = end if complete[-2] < ended[-1] else None  # None: the save before was not yet written.
    result.written = written / saves
    return result


def limits(model) -> tuple[float, float]:
    """Seconds to copy the state in memory, and to write it and sync."""
    arrays = [value.reshape(-1) for value in values(model)]
    copies = [value.copy() for value in arrays]
    copying, writing = [], []
    for _ in range(5):
        begin = time.perf_counter()
        for copy, value in zip(copies, arrays, strict=True):
            np.copyto(copy, value)
        copying.append(time.perf_counter() - begin)
    del copies
    with directory() as root:
        for number in range(3):
            begin = time.perf_counter()
            with open(root / str(number), "wb", buffering=0) as file:
                for value in arrays:
                    file.write(value.view(np.uint8).data)
                os.fsync(file.fileno())
            writing.append(time.perf_counter() - begin)
            os.remove(root / str(number))
    return statistics.median(copying), statistics.median(writing)


# -- reporting -----------------------------------------------------------------------------------------------------


def middle(results: list[Result], name: str) -> float:
    return statistics.median(value for result in results for value in getattr(result, name))


def row(name: str, results: list[Result], variant: Variant) -> str:
    first = statistics.median(result.blocked[0] for result in results)
    idle = [result.idle for result in results if result.idle is not None]
    durable = f"{middle(results, 'durable'):.2f} s{' ' if variant.syncs else '~'}"
    return (
        f"{name:28}{1e3 * middle(results, 'blocked'):9.1f} ms{1e3 * first:9.1f} ms"
        f"{1e3 * middle(results, 'extra'):+9.0f} ms{middle(results, 'worst'):11.2f}{durable:>12}"
        f"{f'{statistics.median(idle):.2f} s' if idle else '':>9}"
        f"{statistics.median(result.written for result in results):9.2f}{middle(results, 'peak'):7.2f}"
    )


def goals(results: dict[str, list[Result]], memcpy: float, raw: float) -> None:
    ours = results[OURS]
    blocked = middle(ours, "blocked")
    idle = [result.idle for result in ours if result.idle is not None]
    lines = [("blocked no longer than one warm memcpy", blocked / memcpy, "x", blocked <= memcpy)]
    for name, limit in ((WANDB_FULL, 300), (WANDB_WEIGHTS, 10), (ORBAX, 3)):
        if name in results:
            ratio = middle(results[name], "blocked") / blocked
            lines.append((f"blocked {limit} times less than {name}", ratio, "times", ratio >= limit))
    worst, peak, longer = middle(ours, "worst"), middle(ours, "peak"), middle(ours, "longer")
    written = statistics.median(result.written for result in ours)
    if idle:
        ratio = statistics.median(idle) / raw
        lines.append(("durable within 2x a raw write with fsync, idle", ratio, "x", ratio <= 2))
    lines += [
        ("worst step at most 1.25 calm ones", worst, "x", worst <= 1.25),
        ("a save makes training at most 0.3 s longer", longer, "s", longer <= 0.3),
        ("peak memory at most one state more", peak, "states", peak <= 1),
        ("written at most 1.02 states", written, "states", written <= 1.02),
    ]
    print()
    for goal, value, unit, met in lines:
        print(f"{goal:52}{value:9.2f} {unit:7}{'met' if met else 'not met':>8}")
    noise = [value for result in results[BARE] for value in result.longer]
    print(f"{'  the same without a save':52}{min(noise):9.2f} to {max(noise):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model and two saves")
    parser.add_argument("--saves", type=int, default=3, help="saves of one fit")
    parser.add_argument("--every", type=int, default=20, help="steps between two saves")
    parser.add_argument("--repeats", type=int, default=3, help="fits of ours, and fits without saves")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="leave out the variants without these")
    arguments = parser.parse_args()
    sizes, every, saves, repeats = FULL, arguments.every, arguments.saves, arguments.repeats
    if arguments.quick:
        sizes, every, saves, repeats = SMALL, 20, 2, 1
    os.chdir(tempfile.mkdtemp())
    print(f"TensorFlow {tf.__version__}, wandb {wandb.__version__}, {os.cpu_count()} cores")
    variants = dict(VARIANTS)
    try:
        import orbax.checkpoint  # noqa: F401
    except ImportError:
        print("Orbax is not installed (pip install orbax-checkpoint): its row is left out.")
        del variants[ORBAX]
    for name in list(variants):
        if arguments.only and name not in (BARE, OURS) and not any(part in name for part in arguments.only):
            del variants[name]
    dataset = batches(every * (saves + 1) - 1, sizes["words"], arguments.batch, arguments.length)
    # Theirs train a model that we have never touched.
    models = {is_ours: compiled(bert(**sizes), 1e-5) for is_ours in (True, False)}
    steps = {is_ours: Steps(model) for is_ours, model in models.items()}
    for is_ours, model in models.items():
        with directory() as root:
            callbacks = [WandbModelCheckpoint(root, log_model="false")] if is_ours else []
            model.fit(dataset.take(every), callbacks=callbacks, shuffle=False, verbose=0)
    results: dict[str, list[Result]] = {name: [] for name in variants}
    measured = []
    for repeat in range(repeats):
        for name, variant in variants.items():
            if repeat and name not in (BARE, OURS):
                continue
            model = models[variant.is_ours]
            results[name].append(fit(model, steps[variant.is_ours], variant, dataset, every, saves))
            if name == OURS:
                measured.append(limits(model))
    memcpy, raw = (statistics.median(column) for column in zip(*measured, strict=True))
    step = statistics.median(result.step for result in results[BARE])
    arrays = values(models[True])
    print(
        f"{sum(value.nbytes for value in arrays) / 2**20:.0f} MiB in {len(arrays)} variables, {1e3 * step:.0f} ms a "
        f"step, {saves} saves in a fit, one every {every} steps; {repeats} fits of ours\n"
    )
    print(
        f"{'':28}{'blocked':>12}{'first':>12}{'next steps':>12}{'worst step':>11}{'durable':>11} {'idle':>9}"
        f"{'written':>9}{'peak':>7}"
    )
    for name, variant in variants.items():
        if name != BARE:
            print(row(name, results[name], variant))
    print(f"{'a warm memcpy':28}{1e3 * memcpy:9.1f} ms")
    print(f"{'a raw write with fsync':28}{1e3 * raw:9.1f} ms{'':45}{f'{raw:.2f} s':>10}{1:9.2f}")
    if not arguments.quick:  # They are those of a model for which writing takes long.
        goals(results, memcpy, raw)


if __name__ == "__main__":
    main()
