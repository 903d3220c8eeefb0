"""The check that a SavedModel answers as the Python model does, in a process that has TensorFlow only."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tf_hfwb.errors import ExportError

Arrays = Mapping[str, npt.NDArray[Any]]

# The largest difference, relative to the value, or absolute where the value is below 1.
TOLERANCE = 1e-4
_PACKAGE = pathlib.Path(__file__).parents[2]


class Example(NamedTuple):
    """A request, and the answer to it.

    Attributes:
        signature: The signature that is called.
        inputs: Its inputs.
        expected: The Python model's answers; other answers are not compared.
    """

    signature: str
    inputs: Arrays
    expected: Arrays


class Checker:
    """The other process, which imports TensorFlow while this one prepares the export; see :func:`checker`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def check(self, model: pathlib.Path, examples: Sequence[Example], *, text_operations: bool = False) -> float:
        """Let the process answer the examples.

        Args:
            model: The SavedModel.
            examples: What to ask it, and what it must answer.
            text_operations: Whether it needs those of tensorflow-text.

        Returns:
            The largest difference that was found, at most :data:`TOLERANCE`.

        Raises:
            ExportError: It cannot load the model or answer, or the answers differ.
        """
        with tempfile.TemporaryDirectory() as name:
            requests, answers = pathlib.Path(name, "requests.npz"), pathlib.Path(name, "answers.npz")
            arrays = {
                f"{number}/{example.signature}/{key}": value
                for number, example in enumerate(examples)
                for key, value in example.inputs.items()
            }
            arrays = {key: value.astype("S") if value.dtype.kind in "OU" else value for key, value in arrays.items()}
            np.savez(requests, **arrays)  # type: ignore[arg-type]
            job = {"model": str(model), "requests": str(requests), "answers": str(answers)}
            _, errors = self._process.communicate(json.dumps({**job, "text_operations": text_operations}) + "\n")
            if self._process.returncode or not answers.exists():
                raise ExportError(
                    f"The SavedModel cannot be used by TensorFlow alone: {errors.strip().rpartition(chr(10))[2]} "
                    "Nothing was published. Please report this with the model's class and what the process wrote:\n"
                    + errors
                )
            with np.load(answers) as file:
                return max((_difference(number, one, file) for number, one in enumerate(examples)), default=0.0)


@contextlib.contextmanager
def checker() -> Iterator[Checker]:
    """Start the process; it ends with the block."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_PACKAGE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "CUDA_VISIBLE_DEVICES": "-1",  # The accelerator belongs to the process that trains.
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tf_hfwb.serving.check_program"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield Checker(process)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _difference(number: int, example: Example, answers: Arrays) -> float:
    largest = 0.0
    for name, expected in example.expected.items():
        got = answers.get(f"{number}/{example.signature}/{name}")
        where = f"{name!r} of the signature {example.signature!r}"
        if got is None or (got.shape != expected.shape and (got.size or expected.size)):
            raise ExportError(f"{where} has the shape {None if got is None else got.shape}, not {expected.shape}.")
        if not expected.size:
            continue
        if expected.dtype.kind != "f":
            # As bytes of any width: texts of the other process are as wide as its longest one.
            if not np.array_equal(got, expected.astype("S") if expected.dtype == object else expected):
                raise ExportError(f"{where} is {got.tolist()}, but the Python model gives {expected.tolist()}.")
            continue
        difference = float(np.max(np.abs(got - expected) / np.maximum(1.0, np.abs(expected))))
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{where} differs from the Python model's by {difference:.3g}; expected at most {TOLERANCE}. "
                "Nothing was published. Check that the model computes the same each time when it is not training."
            )
        largest = max(largest, difference)
    return largest
