"""Starts one training after the other in a new process each, without importing TensorFlow anew.

A process that has imported everything, and run nothing yet, forks itself for every training: TensorFlow starts its
threads with its first operation, which is the child's. Nothing goes from one training to another but the files.

    with Launcher() as launcher:
        ended = launcher.start("directory", "bert", "out").wait()

The requests and answers between the two are lines of JSON. Children are killed by whoever wants to.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass
class Ended:
    """What is left of a training; ``status`` is negative for a signal that killed it, as in ``subprocess``."""

    status: int
    stdout: str
    stderr: str


class Training:
    """One that was started.

    Attributes:
        pid: Its process.
    """

    def __init__(self, launcher: Launcher, pid: int, files: list[pathlib.Path]) -> None:
        self._launcher = launcher
        self.pid = pid
        self._files = files

    @property
    def stdout(self) -> str:
        """What it has printed until now."""
        return self._files[0].read_text() if self._files[0].exists() else ""

    def wait_for(self, words: str, timeout: float = 60.0) -> None:
        """Wait until it has printed the words."""
        end = time.monotonic() + timeout
        while words not in self.stdout and words not in self.stderr:
            assert time.monotonic() < end, f"no {words!r} in {self.stdout}\n{self.stderr}"
            time.sleep(0.005)

    @property
    def stderr(self) -> str:
        return self._files[1].read_text() if self._files[1].exists() else ""

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = 120.0) -> Ended:
        """Wait for its end."""
        status = self._launcher.ask({"wait": self.pid, "timeout": timeout})["status"]
        return Ended(status, *(file.read_text() for file in self._files))


class Launcher:
    """The process that forks.

    Args:
        environment: Variables that count when Keras is imported.
    """

    def __init__(self, **environment: str) -> None:
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._number = 0

    def ask(self, request: dict) -> dict:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the launcher has ended"
        return json.loads(answer)

    def start(self, directory: str | os.PathLike[str], *arguments: str) -> Training:
        """Start a training in a directory, with the environment as it is now; arguments are those of resumable.py."""
        self._number += 1
        directory = pathlib.Path(directory).absolute()
        directory.mkdir(exist_ok=True)
        files = [directory / f"{self._number}.{stream}" for stream in ("out", "err")]
        request = {"arguments": arguments, "directory": str(directory), "environment": dict(os.environ)}
        return Training(self, self.ask({**request, "files": [str(file) for file in files]})["pid"], files)

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()


def serve() -> dict:
    """Answer requests until there are no more; returns in a child, with its request."""
    children = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            children.discard(request["wait"])
            answer = {"status": ended(request["wait"], request["timeout"])}
        else:
            threads = {name for name in threads_here() if not name.startswith(("python", "jemalloc"))}
            assert not threads, f"more than Python runs here: {threads}"
            child = os.fork()
            if child == 0:
                return request
            children.add(child)
            answer = {"pid": child}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    sys.exit()


def threads_here() -> list[str]:
    return [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]


def ended(child: int, timeout: float) -> int:
    """The exit status of a child, which is killed when it takes too long."""
    end = time.monotonic() + timeout
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


def become(request: dict) -> None:
    """Be the process that the request asks for, from its streams to its environment."""
    sys.stdin.close()
    null = os.open(os.devnull, os.O_RDONLY)
    streams = [os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for file in request["files"]]
    for number, descriptor in enumerate([null, *streams]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = os.fdopen(0)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])


def import_everything() -> None:
    """What a training imports, and the modules that transformers and Keras import when they are asked for."""
    import datasets  # noqa: F401
    import transformers
    import wandb
    import wandb.sdk.launch  # noqa: F401 - half of what the opening of a run takes
    from tensorflow.python.eager import context

    for name in ("BertForSequenceClassification", "GPT2LMHeadModel", "T5ForConditionalGeneration"):
        getattr(transformers, f"TF{name}")
    assert transformers.TFViTForImageClassification
    assert context._context is None, "TensorFlow has begun"


if __name__ == "__main__":
    import resumable

    import_everything()
    gc.freeze()  # What was imported is not looked through again, least of all at a training's exit.
    asked = serve()
    become(asked)
    resumable.main(asked["arguments"])
