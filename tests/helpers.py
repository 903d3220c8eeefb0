"""Plain helpers: what a run's log says, and small models of both Kerases."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import socket
import subprocess
import sys

import numpy as np

KERASES = ("tf_keras", "keras")


def needs(*packages: str):
    """The mark of a test in a ``core`` file that uses more than Keras 3."""
    import pytest

    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def nightly(*values):
    """A case of a parametrized test that is a further variant: CI leaves it to the nightly run."""
    import pytest

    return pytest.param(*values, marks=pytest.mark.nightly)


def on_both(names, *often: str) -> list:
    """Cases ``(Keras, name)``: all names on Keras 3, and on tf_keras some of them often, the others nightly."""
    return [("keras", name) for name in names] + [
        ("tf_keras", name) if name in often else nightly("tf_keras", name) for name in names
    ]


def free_addresses(number: int) -> list[str]:
    """Addresses on this machine that nobody listens at."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    found = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return found


def records(directory=None) -> list[dict]:
    """The records of a run's transaction log, of the last run's by default, as ``wandb leet inspect`` prints them."""
    from tf_hfwb.tracking.log_inspection import inspect_commands

    command = next(inspect_commands(os.path.realpath(directory or "wandb/latest-run")))
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


def history(directory=None) -> list[dict]:
    """The rows of a run's history, without the client's own columns; "NaN" and the like as floats."""
    words = {word: float(word) for word in ("NaN", "Infinity", "-Infinity")}
    rows = [_nested(record["history"]["item"]) for record in records(directory) if record["type"] == "history"]
    return [{key: words.get(str(value), value) for key, value in row.items() if key[0] != "_"} for row in rows]


def _nested(row: dict) -> dict:
    """Tables and histograms, of which the log has ``name._type`` and the like, as one value each."""
    nested: dict = {}
    for key, value in row.items():
        name = next((key[:at] for at in range(len(key)) if f"{key[:at]}._type" in row), None)
        if name is None:
            nested[key] = value
        else:
            nested.setdefault(name, {})[key[len(name) + 1 :]] = value
    return nested


def finish() -> str:
    """Finish the current run; returns its directory."""
    import wandb

    directory = os.path.dirname(wandb.run.dir)
    wandb.finish()
    wandb.teardown()  # Its service has ended, and everything is written.
    return directory


def train_rows(rows: list[dict]) -> list[dict]:
    return [row for row in rows if "train/loss" in row]


def eval_rows(rows: list[dict]) -> list[dict]:
    return [row for row in rows if any(name.startswith("eval/") for name in row)]


def classifier(kind: str, *, learning_rate=0.0, optimizer=None, metrics=("accuracy",), **compile_options):
    """A small classifier on 4 features. With a rate of 0 the loss of every batch can be computed by hand."""
    keras = importlib.import_module(kind)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(3)]
    )
    model.compile(
        optimizer=optimizer or keras.optimizers.SGD(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=list(metrics),
        **compile_options,
    )
    return model


def samples(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(number, 4)).astype("float32") * 2
    return x, (np.argmax(x[:, :3], axis=1)).astype("int64")


def losses_by_hand(model, x, y, batch_size: int, weights=None) -> np.ndarray:
    """The loss of each batch in order, in float64 from the model's logits."""
    logits = np.asarray(model.predict(x, verbose=0), dtype=np.float64)
    log_probabilities = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    each = -log_probabilities[np.arange(len(y)), y] * (1.0 if weights is None else weights)
    return np.array([each[i : i + batch_size].mean() for i in range(0, len(y), batch_size)])


def python(*arguments: str, check: bool = True, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Run Python as a user does; variables that are None are taken out of the environment."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    variables = {name: value for name, value in variables.items() if value is not None}
    finished = subprocess.run([sys.executable, *arguments], env=variables, capture_output=True, text=True, timeout=300)
    return succeeded(finished) if check else finished


def succeeded(finished: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """The process that has ended, which must not have failed."""
    assert finished.returncode == 0, f"exit status {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
    return finished
