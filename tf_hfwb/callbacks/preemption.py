"""SIGTERM and Ctrl-C, turned into a request that training answers between two steps."""

from __future__ import annotations

import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class SignalWatch:
    """Notes the first SIGTERM or SIGINT instead of dying of it; a second one ends the process at once.

    Does nothing outside the main thread, where Python takes no handlers, and in notebooks, where interrupting a cell
    must interrupt it.

    Attributes:
        received: The signal that came; None so far.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._old: dict[int, Any] = {}
        self._model: Callable[[], Any] = lambda: None

    def start(self, model: Any) -> None:
        """Take over the two signals during a fit of ``model``; one that the process ignores stays ignored."""
        self.received = None
        self._model = weakref.ref(model)
        if threading.current_thread() is not threading.main_thread() or "ipykernel" in sys.modules:
            return
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._old[number] = signal.signal(number, self._note)

    def stop(self) -> None:
        """Give the old handlers back."""
        for number, handler in self._old.items():
            # None: it was not installed from Python, and cannot be given back by it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._old.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if not _is_fitting(self._model(), frame):  # It ended in an exception, of which callbacks are not told.
            self.stop()
            os.kill(os.getpid(), number)
            return
        self.received = number
        name = signal.Signals(number).name
        # Not through logging, whose lock the interrupted code may hold.
        os.write(
            2,
            f"\n{name}: saving a checkpoint when this step has ended, then exiting. "
            f"A second signal exits at once.\n".encode(),
        )


def _is_fitting(model: Any, frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "fit" and frame.f_locals.get("self") is model:
            return True
        frame = frame.f_back
    return False
