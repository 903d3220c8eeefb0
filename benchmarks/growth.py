"""What grows with the length of a run: nothing but what has to.

    python benchmarks/growth.py                                  # 0.1 GiB, up to 100,000 rows: some minutes, Linux only
    python benchmarks/growth.py --rows 1000 1000000 --checkpoints 3 1000 --gib 0.1 4
    python benchmarks/growth.py --quick                          # only to see that it runs

Each case is a training of its own that has had so many rows, beside so many checkpoints, with a state of so many GiB:
an embedding of which each step changes a few rows, on tf_keras, offline. The rows are made without training: in the
client's log, and in the memory of the process that trains. That process is killed, and another one resumes. Columns, of
which the first case of a size has values, and the others have ratios to them:

* ``step``: the median step, each with a row of the run;
* ``save``: the median time in which a save is written, pruning included, while training waits;
* ``bytes``: what a save writes besides tensors;
* ``memory``, ``memory resumed``: the most that the process that trains has had, and that the one that resumes has;
* ``first step``: from the beginning of ``restore`` to the end of the first step;
* ``end``: from there to the end of ``fit``.

``again`` is the first case once more, at the end: how far its ratios are from 1 is noise.
"""

from __future__ import annotations

import argparse
import dataclasses
import glob
import json
import os
import pathlib
import resource
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from typing import Any

RUN = "growth"
EXTRA = 500  # Rows more than a case says: so many are in trainer_state.json.
STEP = "train/global_step"
BLOCK, HEADER = 32768, 7


@dataclasses.dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        rows: How many it has had.
        checkpoints: How many lie in its directory, and are to stay there.
        gib: The size of its state.
        saves: How often it saves.
        every: The steps between two saves.
    """

    rows: int
    checkpoints: int
    gib: float
    saves: int
    every: int


def row(step: int) -> dict[str, float]:
    return {
        "train/loss": 1 / step,
        "train/learning_rate": 5e-05,
        "train/samples_per_second": 3141.592653589793 + step % 7,
        "train/steps_per_second": 392.69908169872414 + step % 7,
        "train/epoch": step / 1000,
        STEP: step,
    }


# -- what was before -----------------------------------------------------------------------------------------------


def lengthen(log: pathlib.Path, last: int) -> None:
    """Add rows to the client's log of a run that has ended."""
    from wandb.proto.wandb_internal_pb2 import HistoryRecord, Record

    with open(log, "ab") as file:
        place = file.tell()
        for step in range(1, last + 1):
            history = HistoryRecord()
            for name, value in {**row(step), "_step": step, "_runtime": step / 100, "_timestamp": 1.7e9 + step}.items():
                history.item.add(nested_key=[name], value_json=json.dumps(value))
            history.step.num = step
            data, first = Record(num=step, history=history).SerializeToString(), True
            while first or data:
                left = BLOCK - place % BLOCK
                if left < HEADER:
                    place += file.write(bytes(left))
                    left = BLOCK
                piece, data = data[: left - HEADER], data[left - HEADER :]
                kind = bytes([(1 if not data else 2) if first else (4 if not data else 3)])
                place += file.write(struct.pack("<IH", zlib.crc32(kind + piece), len(piece)) + kind + piece)
                first = False


def fill(directory: pathlib.Path, number: int) -> None:
    """Put small checkpoints of early steps there."""
    from tf_hfwb.checkpoint.store import Store

    store = Store(directory)
    for step in range(1, number + 1):
        with store.draft(f"checkpoint-{step}") as draft:
            draft.write_json("trainer_state.json", {"global_step": step})
            draft.commit()


# -- the processes -------------------------------------------------------------------------------------------------


def make_model(gib: float) -> Any:
    import tf_keras

    words = max(1000, int(gib * 2**30 / 4 / 64))
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8,), dtype="int32"),
            tf_keras.layers.Embedding(words, 64),
            tf_keras.layers.GlobalAveragePooling1D(),
            tf_keras.layers.Dense(2),
        ]
    )
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.SGD(0.01), loss=loss)
    return model


def batches(number: int) -> Any:
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(0)
    data = random.integers(0, 1000, (4, 8)).astype("int32"), random.integers(0, 2, (4,)).astype("int64")
    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.from_tensors(data).repeat(number).with_options(options)


def callbacks(case: Case, timer: Any) -> list[Any]:
    from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint

    saver = WandbModelCheckpoint("out", save_freq=case.every, save_total_limit=case.checkpoints, log_model="false")
    return [WandbMetricsLogger("batch"), saver, timer]


def make_timer(writer_jobs: list[float], seed: Any = None) -> Any:
    """A callback that notes when steps end, and lets saves be written before training continues."""
    import tf_keras

    from tf_hfwb.checkpoint.background_writer import BackgroundWriter

    submit = BackgroundWriter.submit

    def submit_timed(self: Any, job: Any) -> None:
        def timed(pace: Any) -> None:
            began = time.perf_counter()
            job(pace)
            writer_jobs.append(time.perf_counter() - began)

        submit(self, timed)
        self.flush()

    BackgroundWriter.submit = submit_timed  # type: ignore[method-assign]

    class Timer(tf_keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.steps: list[float] = []
            self.ended: list[float] = []
            self._began = 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if seed is not None:
                seed()

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self._began = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.ended.append(time.perf_counter())
            self.steps.append(self.ended[-1] - self._began)

    return Timer()


def written_beside_tensors(before: set[int]) -> int:
    """The bytes of the newest checkpoint that were not there before and are no tensors."""
    newest = max(pathlib.Path("out").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    total = 0
    for path in newest.rglob("*"):
        status = path.stat()
        if path.is_file() and path.suffix not in (".keras", ".safetensors", ".h5") and status.st_ino not in before:
            total += status.st_size
    return total


def inodes() -> set[int]:
    return {path.stat().st_ino for path in pathlib.Path("out").rglob("*") if path.is_file()}


def train(case: Case) -> None:
    """Train, print what was measured, and die."""
    import tf_keras

    reached = case.rows + EXTRA
    model, jobs, beside, before = make_model(case.gib), [], [], [inodes()]
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(reached)
    timer = make_timer(jobs, lambda: logger.tracker.history.replace(json.dumps(row(n + 1)) for n in range(reached)))
    listed = callbacks(case, timer)
    logger = listed[0]

    class Look(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if len(jobs) > len(beside):
                beside.append(written_beside_tensors(before[0]))
                before[0] = inodes()
            if len(jobs) == case.saves and batch % case.every == case.every // 2:
                logger.tracker.flush()
                result = {
                    "step": statistics.median(timer.steps[10:]),
                    "save": statistics.median(jobs[1:]),
                    "bytes": statistics.median(beside[1:]),
                    "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                }
                print(json.dumps(result), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)

    model.fit(batches(case.every * (case.saves + 2)), shuffle=False, verbose=0, callbacks=[*listed, Look()])


def resume(case: Case) -> None:
    """Resume, and print what was measured."""
    from tf_hfwb import restore

    model = make_model(case.gib)
    timer = make_timer([])
    began = time.perf_counter()
    restore(model, "out")
    model.fit(batches(case.every * (case.saves + 2)), shuffle=False, verbose=0, callbacks=callbacks(case, timer))
    ended = time.perf_counter()
    result = {
        "first step": timer.ended[0] - began,
        "end": ended - timer.ended[0],
        "memory resumed": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    print(json.dumps(result), flush=True)


def begin_run() -> None:
    """A run that has ended, whose log is lengthened then."""
    import wandb

    with wandb.init(project="benchmark", id=RUN):
        pass


# -- measuring -----------------------------------------------------------------------------------------------------


def in_process(stage: str, case: Case, directory: pathlib.Path) -> dict[str, float]:
    variables = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_RUN_ID": RUN,
        "WANDB_RESUME": "allow",
    }
    command = [sys.executable, os.path.abspath(__file__), "--stage", stage, json.dumps(dataclasses.asdict(case))]
    ended = subprocess.run(command, cwd=directory, env={**os.environ, **variables}, capture_output=True, text=True)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    if stage != "begin" and not lines:
        sys.exit(f"{stage} of {case} has failed:\n{ended.stderr}")
    return dict(json.loads(lines[-1])) if lines else {}


def measure(case: Case) -> dict[str, float]:
    directory = pathlib.Path(tempfile.mkdtemp(prefix="growth-"))
    try:
        in_process("begin", case, directory)
        (log,) = glob.glob(os.path.join(directory, "wandb", "offline-run-*", f"run-{RUN}.wandb"))
        lengthen(pathlib.Path(log), case.rows + EXTRA)
        fill(directory / "out", case.checkpoints)
        found = in_process("train", case, directory)
        return found | in_process("resume", case, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


COLUMNS = {
    "step": (1e3, "ms"),
    "save": (1e3, "ms"),
    "bytes": (1 / 1024, "KiB"),
    "memory": (1 / 1024, "MiB"),
    "memory resumed": (1 / 1024, "MiB"),
    "first step": (1, "s"),
    "end": (1, "s"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--checkpoints", type=int, nargs="+", default=[3, 1000])
    parser.add_argument("--gib", type=float, nargs="+", default=[0.1])
    parser.add_argument("--saves", type=int, default=5, help="saves of one training")
    parser.add_argument("--every", type=int, default=40, help="steps between two saves")
    parser.add_argument("--repeats", type=int, default=1, help="measurements of each case, of which the median counts")
    parser.add_argument("--quick", action="store_true", help="a few rows and a small state")
    parser.add_argument("--stage", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        stage, text = arguments.stage
        case = Case(**json.loads(text))
        {"begin": lambda case: begin_run(), "train": train, "resume": resume}[stage](case)
        return
    rows, checkpoints, gib = arguments.rows, arguments.checkpoints, arguments.gib
    if arguments.quick:
        rows, checkpoints, gib = [1000, 3000], [3], [0.001]
    print(f"{'rows':>9}{'checkpoints':>13}{'GiB':>6}" + "".join(f"{name:>16}" for name in COLUMNS))
    for size in gib:
        cases = [Case(r, c, size, arguments.saves, arguments.every) for c in checkpoints for r in rows]
        cases.append(cases[0])
        found: list[list[dict[str, float]]] = [[] for _ in cases]
        for _ in range(arguments.repeats):
            for results, case in zip(found, cases, strict=True):
                results.append(measure(case))
        medians = [{name: statistics.median(one[name] for one in results) for name in COLUMNS} for results in found]
        for number, (case, result) in enumerate(zip(cases, medians, strict=True)):
            again = " again" if number == len(cases) - 1 else ""
            line = f"{case.rows:>9}{case.checkpoints:>13}{case.gib:>6g}"
            for name, (factor, unit) in COLUMNS.items():
                ratio = result[name] / medians[0][name]
                line += f"{f'{factor * result[name]:.4g} {unit}':>16}" if not number else f"{f'{ratio:.2f}':>16}"
            print(line + again, flush=True)


if __name__ == "__main__":
    main()
