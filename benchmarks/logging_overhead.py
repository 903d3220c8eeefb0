"""What logging adds to a step of ``fit``: our logger and W&B's own, at intervals of 1, 10 and 100 steps.

    python benchmarks/logging_overhead.py            # about a quarter of an hour on two quiet cores
    python benchmarks/logging_overhead.py --builds 1 --repeats 5
    python benchmarks/logging_overhead.py --dashboards   # what TensorBoard adds to W&B, and what it costs alone
    KERAS_BACKEND=jax python benchmarks/logging_overhead.py    # needs neither TensorFlow nor transformers

One process, one offline run. Every variant trains a model of its own, built alike. A machine's speed drifts within
seconds, so the fits are short, and each has a bare one beside it: after it in one turn, before it in the next. Models
that were built alike differ by some percent, by where their memory lies, so they are built anew a few times. Each
number is a median over all pairs. The second bare model shows the noise. Columns:

* ``thread``: microseconds per step that the training thread spends between two calls of the compiled train function,
  over the bare fit of the pair: callbacks, and whatever else a logger does there; ``±`` is the median's standard error;
* ``wall``: microseconds per step of the whole fit over the bare fit of the pair, which includes what the logger adds
  to the training graph and what its worker thread takes away;
* ``cpu``: CPU time of the process, as a ratio to the bare fit of the pair.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"

import keras
import wandb
from trained import batches, bert, compiled, keras3_transformer

from tf_hfwb import TensorBoardLogger, WandbMetricsLogger

INTERVALS = (1, 10, 100)
Times = tuple[float, float, float]  # Seconds per step: of the training thread between two steps, in all, and of CPU.
Pair = tuple[Times, Times]  # With the callback, and bare.
SIZES = {"layers": 1, "width": 64}


def wandbs_own(kind: str):
    """W&B's own logger, which imports TensorFlow; None where that is not installed."""
    if importlib.util.find_spec("tensorflow") is None:
        return None
    from wandb.integration.keras import WandbMetricsLogger as WandbsOwn

    class WandbsOnTFKeras(WandbsOwn):
        """W&B's logger derives from Keras 3's callback; tf_keras asks for these, without which it raises."""

        _supports_tf_logs = False

        def _implements_train_batch_hooks(self):
            return True

        def _implements_test_batch_hooks(self):
            return False

        def _implements_predict_batch_hooks(self):
            return False

    return WandbsOnTFKeras if kind == "tf_keras" else WandbsOwn


class Gaps:
    """Adds up the time between two calls of a model's compiled train function."""

    def __init__(self, model):
        self._model, self._make = model, model.make_train_function
        self.reset()
        model.make_train_function = self._make_timed

    def reset(self) -> None:
        self.seconds, self._returned = 0.0, None

    def _make_timed(self, force=False):
        self._make(force=force)
        if not hasattr(self._model.train_function, "is_timed"):
            if hasattr(self._model.train_function, "recorder"):
                return self._model.train_function  # It has a timed one inside.
            self._model.train_function = self._timed(self._model.train_function)
        return self._model.train_function

    def _timed(self, function):
        def timed(*arguments):  # On JAX the state comes first.
            if self._returned is not None:
                self.seconds += time.perf_counter() - self._returned
            outputs = function(*arguments)
            self._returned = time.perf_counter()
            return outputs

        timed.is_timed = True
        return timed


def fit(model, gaps, callback, dataset, steps: int) -> Times:
    """Seconds per step: of the training thread between two steps, in all, and of CPU."""
    gaps.reset()
    gc.collect()
    gc.freeze()  # Else a collection of all that TensorFlow has made falls into some fits, and not into others.
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(dataset, callbacks=callback or [], shuffle=False, verbose=0)
    return gaps.seconds / steps, (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps


def pairs(build, callbacks, steps: int, repeats: int) -> dict[str, list[Pair]]:
    """Fits with each variant's callback, each with the bare fit beside it, of new models."""
    models = {variant: compiled(build(**SIZES), 1e-4, ("accuracy",)) for variant in ("bare", *callbacks)}
    gaps = {variant: Gaps(model) for variant, model in models.items()}
    dataset = batches(steps)

    def fitted(variant: str) -> Times:
        make = callbacks.get(variant)
        return fit(models[variant], gaps[variant], make() if make else None, dataset, steps)

    for variant in models:
        fitted(variant)  # Traces the graph.
    found: dict[str, list[Pair]] = {variant: [] for variant in callbacks}
    for repeat in range(repeats):
        for variant, kept in found.items():
            both = {name: fitted(name) for name in (("bare", variant) if repeat % 2 else (variant, "bare"))}
            kept.append((both[variant], both["bare"]))
    return found


def loggers(theirs) -> dict:
    """Our logger and W&B's own."""
    callbacks = {"bare again": None}
    for interval in INTERVALS:
        callbacks[f"tf_hfwb, every {interval}"] = lambda interval=interval: [WandbMetricsLogger(interval)]
        if theirs is not None:
            callbacks[f"W&B's own, every {interval}"] = lambda interval=interval: [theirs(interval)]
    return callbacks


def dashboards() -> dict:
    """Our logger for W&B, for TensorBoard, and for both."""

    def events(interval: int) -> TensorBoardLogger:
        return TensorBoardLogger(tempfile.mkdtemp(), interval)

    callbacks = {"bare again": None}
    for interval in INTERVALS[:2]:
        callbacks[f"W&B, every {interval}"] = lambda n=interval: [WandbMetricsLogger(n)]
        callbacks[f"and TensorBoard, every {interval}"] = lambda n=interval: [WandbMetricsLogger(n), events(n)]
        callbacks[f"TensorBoard, every {interval}"] = lambda n=interval: [events(n)]
    return callbacks


def measure(name, build, callbacks, steps: int, builds: int, repeats: int) -> None:
    found: dict[str, list[Pair]] = {variant: [] for variant in callbacks}
    for _ in range(builds):
        for variant, more in pairs(build, callbacks, steps, repeats).items():
            found[variant] += more
    bare = [none for kept in found.values() for _, none in kept]
    print(f"\n{name}: {1e3 * statistics.median(wall for _, wall, _ in bare):.1f} ms a step,", end=" ")
    print(f"{builds} x {repeats} pairs of fits of {steps} steps for each variant")
    print(f"{'':26}{'thread':>17}{'wall':>11}{'cpu':>8}")
    print(f"{'bare fit':26}{1e6 * statistics.median(gap for gap, _, _ in bare):8.1f} µs{'':17}{'1.00':>8}")
    for variant, kept in found.items():
        threads = [1e6 * (ours[0] - none[0]) for ours, none in kept]
        error = 1.25 * statistics.stdev(threads) / len(threads) ** 0.5
        wall = 1e6 * statistics.median(ours[1] - none[1] for ours, none in kept)
        cpu = statistics.median(ours[2] / none[2] for ours, none in kept)
        print(f"{variant:26}{statistics.median(threads):+8.1f} ±{error:4.1f} µs{wall:+8.0f} µs{cpu:8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="steps of one fit")
    parser.add_argument("--builds", type=int, default=4, help="how often the models are built")
    parser.add_argument("--repeats", type=int, default=10, help="pairs of fits of each variant with each build")
    parser.add_argument("--dashboards", action="store_true", help="compare TensorBoard with W&B")
    arguments = parser.parse_args()
    os.chdir(tempfile.mkdtemp())
    backend = keras.backend.backend()
    print(f"Keras {keras.__version__} on {backend}, wandb {wandb.__version__}, {os.cpu_count()} cores")
    numbers = arguments.steps, arguments.builds, arguments.repeats
    with wandb.init(project="benchmark"):
        if arguments.dashboards:
            measure("a transformer on Keras 3", keras3_transformer, dashboards(), *numbers)
            return
        if importlib.util.find_spec("tf_keras") is not None:
            measure("transformers' BERT on tf_keras", bert, loggers(wandbs_own("tf_keras")), *numbers)
        measure("a transformer on Keras 3", keras3_transformer, loggers(wandbs_own("keras")), *numbers)


if __name__ == "__main__":
    main()
