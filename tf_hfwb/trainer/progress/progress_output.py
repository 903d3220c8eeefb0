"""Where progress is written: to a terminal, into a notebook, or into a log."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from enum import Enum
from typing import TextIO

_NOTEBOOK_WIDTH, _UNKNOWN_WIDTH = 100, 80


class Medium(Enum):
    """What standard output is."""

    TERMINAL = "terminal"
    NOTEBOOK = "notebook"
    LOG = "log"


class ProgressOutput:
    """A line that changes, and lines that stay, on standard output as it is now.

    In a log there is no line that changes: nothing but what stays is written. Where standard output takes nothing any
    more, as when its terminal is gone, nothing is written: that is no reason to end a training.

    Attributes:
        medium: What standard output is.
    """

    def __init__(self) -> None:
        self._stream: TextIO | None = sys.stdout  # None in a program without a console.
        self.medium = _medium_of(self._stream)
        self._lock = threading.Lock()
        self._shown = ""
        self._is_paused = False

    @property
    def width(self) -> int:
        """The characters of a line; one less than a terminal has, where the cursor stands."""
        if self.medium is Medium.NOTEBOOK:
            return _NOTEBOOK_WIDTH
        columns = 0
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                columns = os.get_terminal_size(self._stream.fileno()).columns
        return (columns or _UNKNOWN_WIDTH) - 1

    def show(self, line: str) -> None:
        """Replace the line that changes."""
        if self.medium is Medium.LOG:
            return
        with self._lock:
            if self._is_paused:
                return
            self._write(f"\r{line}{' ' * (min(len(self._shown), self.width) - len(line))}")
            self._shown = line

    def write_line(self, line: str) -> None:
        """Write a line that stays, above the one that changes."""
        with self._lock:
            self._write(f"{self._blank()}{line}\n")

    def clear(self) -> None:
        """Take away the line that changes, before somebody else writes a line."""
        with self._lock:
            self._write(self._blank())

    def pause(self) -> None:
        """Take away the line that changes until :meth:`resume`, as others may write."""
        with self._lock:
            self._is_paused = True
            self._write(self._blank())

    def resume(self) -> None:
        """Show the line that changes again."""
        self._is_paused = False

    def leave(self) -> None:
        """Let the line that changes stay as it is."""
        with self._lock:
            self._write("\n" if self._shown else "")
            self._shown, self._is_paused = "", True

    def _blank(self) -> str:
        """What takes the line away; blanks, as notebooks know no codes for that."""
        shown, self._shown = self._shown, ""
        return f"\r{' ' * min(len(shown), self.width)}\r" if shown else ""

    def _write(self, text: str) -> None:
        if self._stream is None or not text:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        with contextlib.suppress(OSError, ValueError):  # A terminal that is gone; a file that is closed.
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()


def _medium_of(stream: TextIO | None) -> Medium:
    iostream = sys.modules.get("ipykernel.iostream")
    if iostream is not None and isinstance(stream, iostream.OutStream):
        return Medium.NOTEBOOK
    with contextlib.suppress(ValueError):  # Closed.
        if stream is not None and stream.isatty():
            return Medium.TERMINAL
    return Medium.LOG
