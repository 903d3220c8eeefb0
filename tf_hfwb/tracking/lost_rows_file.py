"""The file that keeps rows which the client's log does not have.

The tracker keeps the numbers of all rows, for checkpoints. They are written to this file when the client's service
has died or hangs, and when its log turns out to lack rows, as on a full disk; from then on each batch of rows is
appended. ``tf-hfwb sync`` reads them.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tf_hfwb.json_text import number_of

FILE = "tf_hfwb-rows.jsonl"


@dataclass
class Rescued:
    """The content of rescue files.

    Attributes:
        rows: The rows.
        summary: Values of the run's summary.
        exit_code: That of the run; None if it had not ended.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


class RescueFile:
    """The file of one run.

    Args:
        directory: The run's folder. Where it cannot be written, the file is made in the system's temporary folder.

    Attributes:
        path: The file; None as long as nothing could be written anywhere.
        error: Why something could not be written, if it could not.
    """

    def __init__(self, directory: str) -> None:
        self.path: str | None = None
        self.error: OSError | None = None
        self._directory = directory
        self._lines: list[str] = []  # To be written.
        self._written: list[str] = []  # To be written again elsewhere when a disk is full.

    def add_rows(self, rows: Iterable[str]) -> None:
        """Add rows, each an object in JSON."""
        self._lines += [f'{{"row": {row}}}\n' for row in rows]

    def add(self, **facts: Any) -> None:
        """Add ``summary`` or ``exit_code``."""
        self._lines.append(json.dumps(facts, default=str) + "\n")

    def write(self) -> bool:
        """Write what was added.

        Returns:
            Whether everything that was ever added is on disk.
        """
        if not self._lines:
            return self.error is None
        lines = self._lines
        self._written += lines
        self._lines = []
        places = [self.path] if self.path else []
        for path in (*places, os.path.join(self._directory, FILE), None):
            try:
                self.path = _append(path, lines if path == self.path else self._written)
            except OSError as error:
                self.error = error
            else:
                self.error = None
                return True
        return False


def _append(path: str | None, lines: list[str]) -> str:
    if path is None:
        descriptor, path = tempfile.mkstemp(prefix="tf_hfwb-rows-", suffix=".jsonl")
    else:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        with contextlib.suppress(OSError):  # Not every file system can.
            os.fsync(descriptor)
    return path


def read(paths: Iterable[str]) -> Rescued:
    """The content of rescue files; those that do not exist are passed over, and so are unfinished lines."""
    found = Rescued()
    for path in paths:
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                with contextlib.suppress(ValueError):
                    _take(found, json.loads(line))
    return found


def _take(found: Rescued, entry: Any) -> None:
    if not isinstance(entry, Mapping):
        return
    if isinstance(entry.get("row"), Mapping):
        row = entry["row"].items()
        found.rows.append({name: number for name, value in row if (number := number_of(value)) is not None})
    if isinstance(entry.get("summary"), Mapping):
        found.summary.update(entry["summary"])
    if isinstance(entry.get("exit_code"), int):
        found.exit_code = entry["exit_code"]
