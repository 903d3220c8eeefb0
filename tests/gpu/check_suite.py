"""What the checks of all frameworks share: bounds, a process for each check, and the table of what they found."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SECONDS = 240  # That a check may take.

Found = list[float] | str


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


def off(found: np.ndarray, expected: np.ndarray) -> float:
    """How far the means are from each other; infinitely where a loss is no number or some are missing."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(abs(found.mean() - expected.mean()) / expected.mean())


@dataclass(frozen=True)
class Suite:
    """The checks of a framework.

    Attributes:
        framework: Its name.
        script: The file that runs a check with ``--only``.
        program: What prints the names of the GPUs that it can use, as JSON.
        load: Makes what is trained; ``small`` for a rehearsal.
        checks: From what is trained to the values found.
        bounds: Of each check's values.
    """

    framework: str
    script: str
    program: str
    load: Callable[..., Any]
    checks: Mapping[str, Callable[[Any], list[float]]]
    bounds: Mapping[str, Sequence[Bound]]

    def gpus(self) -> list[str]:
        """The GPUs that the framework can use, as another process sees them."""
        ended = subprocess.run([sys.executable, "-c", self.program], capture_output=True, text=True)
        if ended.returncode:
            sys.exit(f"{self.framework} cannot be asked for its GPUs:\n{ended.stderr}")
        return json.loads(ended.stdout.splitlines()[-1])

    def run_check(self, name: str, *, rehearse: bool) -> Found:
        """What a check has found, in a process of its own; or why it has found nothing."""
        command = [sys.executable, self.script, "--only", name, *(["--rehearse"] if rehearse else [])]
        with tempfile.TemporaryDirectory() as folder:
            try:
                ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
            except subprocess.TimeoutExpired:
                return f"not done after {SECONDS} s"
        if ended.returncode:
            return (ended.stderr.strip().splitlines() or ["no message"])[-1][:200]
        return json.loads(ended.stdout.splitlines()[-1])

    def table_of(self, found: Mapping[str, Found]) -> tuple[list[str], bool]:
        """The lines of the table, and whether every value is within its bound."""
        lines, is_good = [f"{'check':18}{'value':36}{'found':>10}{'at most':>10}  unit"], True
        for name, values in found.items():
            if isinstance(values, str):
                lines.append(f"{name:18}FAILED: {values}")
                is_good = False
                continue
            for bound, value in zip(self.bounds[name], values, strict=True):
                is_within = value <= bound.most  # NaN is not.
                is_good = is_good and is_within
                end = "" if is_within else f"  OUT OF BOUNDS ({bound.why})"
                lines.append(f"{name:18}{bound.name:36}{value:10.3f}{bound.most:10.3f}  {bound.unit}{end}")
        return lines, is_good

    def main(self) -> int:
        """Run one check, or all of them and print the table."""
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--rehearse", action="store_true", help="on the CPU, with a small model; judges nothing")
        parser.add_argument("--only", choices=self.checks, help="one check, which prints what it has found")
        arguments = parser.parse_args()
        if arguments.rehearse:
            os.environ.update(CUDA_VISIBLE_DEVICES="-1", JAX_PLATFORMS="cpu")
        if arguments.only:
            sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
            print(json.dumps(self.checks[arguments.only](self.load(small=arguments.rehearse))))
            return 0
        gpus = self.gpus()
        if not gpus and not arguments.rehearse:
            print(f"There is no GPU here that {self.framework} can use. Nothing was checked, and nothing is claimed.")
            return 0
        what = "A rehearsal on the CPU, which judges nothing" if arguments.rehearse else f"On {', '.join(gpus)}"
        print(f"{what}, with {self.framework}", flush=True)
        found = {}
        for name in self.checks:
            began = time.perf_counter()
            found[name] = self.run_check(name, rehearse=arguments.rehearse)
            print(f"  {name}: {time.perf_counter() - began:.0f} s", flush=True)
        lines, is_good = self.table_of(found)
        print(*lines, sep="\n")
        if arguments.rehearse:
            return int(any(isinstance(values, str) for values in found.values()))
        print("All values are within their bounds." if is_good else "Not all values are within their bounds.")
        return int(not is_good)
