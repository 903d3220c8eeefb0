"""How long the first batch takes when a training goes on at step 1,000,000, as a ratio to step 0.

    python benchmarks/resume_skipping.py             # a few seconds

Medians of interleaved repeats. The data are 100,000 samples in memory, so step 1,000,000 is in epoch 320.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from tf_hfwb import training_batches

SAMPLES, BATCH, STEP = 100_000, 32, 1_000_000


def seconds_to_first_batch(start_step: int) -> float:
    data = np.zeros((SAMPLES, 16), np.int32), np.zeros(SAMPLES, np.int64)
    batches = training_batches(data, BATCH, start_step=start_step)
    began = time.perf_counter()
    next(iter(batches.dataset))
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    seconds_to_first_batch(0)  # TensorFlow's own beginning.
    pairs = [(seconds_to_first_batch(0), seconds_to_first_batch(STEP)) for _ in range(arguments.repeats)]
    ratio = statistics.median(late / early for early, late in pairs)
    early, late = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"step 0: {early:.0f} ms, step {STEP:,}: {late:.0f} ms, ratio {ratio:.2f} (goal: under 1.2)")


if __name__ == "__main__":
    main()
