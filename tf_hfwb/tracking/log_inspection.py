"""A run's log as the client's own program reads it: ``wandb leet inspect``.

It knows the log of every version of the client, but takes several times as long as reading the records here
(:mod:`tf_hfwb.tracking.log_items`).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tf_hfwb.tracking.run_log import log_of
from tf_hfwb.tracking.wandb_private import core_program

NO_LOG = "it holds no log"  # What is wrong with such a folder.
_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}  # Of the client's program, whatever the locale is.
_PREFIX = "wandb leet inspect: "  # Of its complaints.


def summary_of(directory: str) -> dict[str, Any]:
    """Facts about the run in a folder, from the client: ``run_id``, ``project``, ``entity``, ``exit_code``, ...

    Raises:
        OSError: The folder holds no run, or the client cannot read it.
    """
    complaint = ""
    for command in inspect_commands(os.path.abspath(directory), "--summary"):
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, **_TEXT)
        if not ended.returncode:
            return dict(json.loads(ended.stdout))
        complaint = ended.stderr.strip()[-300:]
    raise OSError(
        f"{directory} cannot be read as a run: {complaint}. Expected the folder of a run, such as wandb/run-DATE-ID."
    )


def inspect_commands(directory: str, *options: str) -> Iterator[list[str]]:
    """The commands to try in order: the program behind ``wandb leet inspect``, in a twentieth of the time, and itself.

    Args:
        directory: The run's folder, as an absolute path.
        *options: Further options, such as ``--summary``.
    """
    path = log_of(directory)
    program = core_program()
    if program is not None and path is not None:
        core = [program, "leet", "inspect", "--no-observability", "--json", *options]
        yield [*core, "--run-file", path, os.path.dirname(directory)]
    yield [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, directory]


def inspected_items(
    folder: str, kinds: tuple[str, ...], containing: str, complain: Callable[[str], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The items of some kinds in a run's log, in the order in which they were written; one is in memory at a time.

    Args:
        folder: The run's folder.
        kinds: ``"history"``, ``"stats"``, ``"run"``, ``"artifact"``, ...
        containing: Pass over items without this text.
        complain: Gets what is wrong with the log, at its end, in words.

    Yields:
        The kind and the item.
    """
    folder, complaint = os.path.abspath(folder), NO_LOG
    for command in inspect_commands(folder):
        has_items = False
        with tempfile.TemporaryFile("w+", **_TEXT) as complaints:
            # Not in the current directory, where a file of the user's may have the name of a module.
            with subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, **_TEXT
            ) as process:
                for item in _parse(process.stdout or (), kinds, containing):
                    has_items = True
                    yield item
            complaints.seek(0)
            complaint = complaints.read().strip()[-300:].removeprefix(_PREFIX)
        if not process.returncode or has_items:
            break
        complaint = complaint or f"exit status {process.returncode}"
    if complaint:
        complain(complaint)


def _parse(lines: Iterable[str], kinds: tuple[str, ...], containing: str) -> Iterator[tuple[str, dict[str, Any]]]:
    marks = [f'"type":"{kind}"' for kind in kinds]
    for line in lines:
        if containing in line and any(mark in line for mark in marks):
            with contextlib.suppress(ValueError):  # The last line of a program that was ended.
                entry = json.loads(line)
                if entry["type"] in kinds:
                    yield entry["type"], entry[entry["type"]]
