"""A limit on how long something may take, also while the interpreter ends."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


class Watchdog:
    """Calls a function when something takes too long.

    :meth:`start` has to be called early: when the interpreter ends, Python starts no more threads.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._action: Callable[[], None] | None = None
        self._timeout: float | None = None
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._watch, name="tf_hfwb-watchdog", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def watching(self, timeout: float | None, action: Callable[[], None]) -> Iterator[None]:
        """Call ``action`` on another thread if the block takes longer than so many seconds; None for no limit."""
        if timeout is not None:
            self._set(timeout, action)
        try:
            yield
        finally:
            self._set(None, None)

    def close(self) -> None:
        """End the thread."""
        self._is_closed = True
        self._set(None, None)
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join(timeout=1.0)

    def _set(self, timeout: float | None, action: Callable[[], None] | None) -> None:
        with self._changed:
            self._timeout, self._action = timeout, action
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._is_closed:
                action = self._action
                if not self._changed.wait(self._timeout) and action is not None:
                    self._timeout = self._action = None
                    action()
