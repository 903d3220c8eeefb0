"""Runs Python in new processes without importing TensorFlow anew in each of them.

A process that has imported everything, and run nothing yet, forks itself for every script: TensorFlow starts its
threads with its first operation, which is the child's. Nothing goes from one script to another but the files.

    with Launcher() as launcher:
        finished = launcher.python("import sys; print(sys.argv[1])", "argument")
        training = launcher.start("resumable.py", "bert", "out", directory="there")
        training.kill(signal.SIGTERM)

The requests and answers between the two are lines of JSON. Children are killed by whoever wants to.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import time

from helpers import succeeded


class Script:
    """One that was started.

    Attributes:
        pid: Its process.
    """

    def __init__(self, launcher: Launcher, pid: int, arguments: list[str], files: list[pathlib.Path]) -> None:
        self._launcher = launcher
        self.pid = pid
        self._arguments = arguments
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

    def wait(self, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Wait for its end."""
        status = self._launcher.ask({"wait": self.pid, "timeout": timeout})["status"]
        return subprocess.CompletedProcess(self._arguments, status, self.stdout, self.stderr)


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
        self._output = tempfile.TemporaryDirectory()
        self._number = 0

    def ask(self, request: dict) -> dict:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the launcher has ended"
        return json.loads(answer)

    def start(
        self, script: str, *arguments: str, directory: str | os.PathLike[str] = ".", **environment: str | None
    ) -> Script:
        """Start a script.

        Args:
            script: A file, or what it would say.
            arguments: Those of its command line.
            directory: Where it runs; made if it is not there.
            environment: Besides the variables of now; those that are None are taken out.
        """
        self._number += 1
        directory = pathlib.Path(directory).absolute()
        directory.mkdir(exist_ok=True)
        variables = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
        files = [pathlib.Path(self._output.name, f"{self._number}.{stream}") for stream in ("out", "err")]
        request = {"script": script, "arguments": arguments, "directory": str(directory), "environment": variables}
        pid = self.ask({**request, "files": [str(file) for file in files]})["pid"]
        return Script(self, pid, [script, *arguments], files)

    def python(
        self, script: str, *arguments: str, check: bool = True, **environment: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end, as ``helpers.python`` does with ``-c``."""
        ended = self.start(script, *arguments, **environment).wait(300.0)
        return succeeded(ended) if check else ended

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._output.cleanup()


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
    """What scripts import, and the modules that transformers, Keras and W&B import when they are asked for."""
    import wandb
    import wandb.sdk.launch  # noqa: F401 - half of what the opening of a run takes

    from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint, restore, training_batches  # noqa: F401

    if importlib.util.find_spec("tf_keras") is not None:
        import_tensorflow()


def import_tensorflow() -> None:
    """What scripts with TF models of transformers import."""
    import datasets  # noqa: F401
    import tiny  # noqa: F401
    import transformers
    from tensorflow.python.eager import context

    from tf_hfwb import TFTrainer  # noqa: F401

    for name in ("BertForSequenceClassification", "GPT2LMHeadModel", "T5ForConditionalGeneration"):
        getattr(transformers, f"TF{name}")
    assert transformers.TFViTForImageClassification
    assert context._context is None, "TensorFlow has begun"


def run(script: str, arguments: list[str]) -> None:
    """Run a script as the process's own."""
    sys.argv = [script, *arguments]
    if script.endswith(".py"):
        runpy.run_path(script, run_name="__main__")
    else:
        sys.argv[0] = "-c"
        exec(compile(script, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    import_everything()
    gc.freeze()  # What was imported is not looked through again, least of all at a script's exit.
    asked = serve()
    become(asked)
    run(asked["script"], asked["arguments"])
