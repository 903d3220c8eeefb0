"""SIGTERM and Ctrl-C, turned into a request that training answers between two steps."""

from __future__ import annotations

import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any

from tf_hfwb.call_stack import calls_of

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class SignalWatch:
    """Notes the first SIGTERM or SIGINT instead of dying of it; a second one ends the process at once.

    Does nothing outside the main thread, where Python takes no handlers, and in notebooks, where interrupting a cell
    must interrupt it.

    A watch may be started before the fit, which cannot answer yet; the next one to start takes over from it, with what
    it has noted.

    Args:
        signals: Which of them; any other one does what it did before.
        on_signal: Called when a signal is noted, between any two lines of Python of the main thread. It must not raise.

    Attributes:
        received: The signal that came; None so far.
    """

    def __init__(
        self, signals: Collection[signal.Signals] = _SIGNALS, on_signal: Callable[[], None] = lambda: None
    ) -> None:
        self.received: int | None = None
        self._signals, self._on_signal = signals, on_signal
        self._old: dict[int, Any] = {}
        self._owner: Callable[[], Any] = lambda: None
        self._plan = ""

    def start(self, owner: Any, plan: str = "saving a checkpoint when this step has ended, then exiting") -> None:
        """Take over the signals; one that the process ignores stays ignored.

        Args:
            owner: The model during whose ``fit``, or the trainer during whose ``train``, they are noted.
            plan: What is said then.
        """
        self.received = None
        self._owner, self._plan = weakref.ref(owner), plan
        if threading.current_thread() is not threading.main_thread() or "ipykernel" in sys.modules:
            return
        for number in _SIGNALS:
            before = _watch_of(number)
            if before is not None:
                before.stop()
                if _is_training(before._owner(), sys._getframe()):  # Not of a fit that ended in an exception.
                    self.received = before.received
        for number in self._signals:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._old[number] = signal.signal(number, self._note)

    @property
    def is_on(self) -> bool:
        """Whether it was started, and neither stopped nor taken over from."""
        return bool(self._old)

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
        if not _is_training(self._owner(), frame):  # It ended in an exception, of which callbacks are not told.
            self.stop()
            os.kill(os.getpid(), number)
            return
        self.received = number
        name = signal.Signals(number).name
        # Not through logging, whose lock the interrupted code may hold.
        os.write(
            2,
            f"\n{name}: {self._plan}. A second signal exits at once.\n".encode(),
        )
        self._on_signal()


def is_watched(number: signal.Signals) -> bool:
    """Whether a watch of a training that is under way has taken over the signal."""
    watch = _watch_of(number)
    return watch is not None and _is_training(watch._owner(), sys._getframe())


def _watch_of(number: signal.Signals) -> SignalWatch | None:
    watch = getattr(signal.getsignal(number), "__self__", None)
    return watch if isinstance(watch, SignalWatch) else None


def _is_training(owner: Any, frame: FrameType | None) -> bool:
    return any(True for _ in calls_of(frame, ("fit", "train"), owner))
