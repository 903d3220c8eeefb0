"""What a slow server costs a training: each request answered after 200 ms, over the same training offline.

    python benchmarks/slow_server.py            # about 6 minutes on two quiet cores

Every training is a process of its own with a BERT of 11 M parameters, a row at each 10th step and a checkpoint (with
its upload) at each 60th; the server is ``tests/wandb_server`` in this process. Printed are medians over interleaved
pairs, of the milliseconds of a step (the wall time from the 20th step to the last, saves included), and their ratio.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

TESTS = pathlib.Path(__file__).parent.parent / "tests"
WARM, STEPS = 20, 200


def work() -> None:
    """One training; prints the milliseconds of a step."""
    import tf_keras
    from trained import batches, bert, compiled

    from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint

    class Clock(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch + 1 == WARM:
                self.began = time.perf_counter()
            if batch + 1 == STEPS:
                print((time.perf_counter() - self.began) / (STEPS - WARM) * 1e3)

    model = compiled(bert(layers=4, width=256, heads=4, words=30522, widening=4), 1e-5)
    callbacks = [Clock(), WandbMetricsLogger(10), WandbModelCheckpoint("out", save_freq=60, log_model="checkpoint")]
    model.fit(batches(STEPS, words=30522), callbacks=callbacks, verbose=0)


def milliseconds(environment: dict[str, str]) -> float:
    with tempfile.TemporaryDirectory() as directory:
        variables = {
            **os.environ,
            "WANDB_SILENT": "true",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "HOME": directory,
            **environment,
        }
        command = [sys.executable, os.path.abspath(__file__), "--work"]
        ended = subprocess.run(command, cwd=directory, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    return float(ended.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--delay", type=float, default=0.2, help="seconds before each answer")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        return work()
    sys.path.insert(0, str(TESTS))
    from wandb_server import WandbServer

    offline, online = [], []
    with WandbServer() as server:
        for _ in range(arguments.repeats):
            server.delay = arguments.delay
            online.append(milliseconds(server.environment()))
            offline.append(milliseconds({"WANDB_MODE": "offline"}))
            print(f"online {online[-1]:.2f} ms, offline {offline[-1]:.2f} ms", file=sys.stderr)
        megabytes = server.uploaded_bytes / 2**20
    ratio = statistics.median(one / other for one, other in zip(online, offline, strict=True))
    print(f"online {statistics.median(online):.2f} ms a step, offline {statistics.median(offline):.2f} ms")
    print(f"ratio {ratio:.3f}; {megabytes:.0f} MiB uploaded")
    return None


if __name__ == "__main__":
    main()
