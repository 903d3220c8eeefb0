"""One thread that writes checkpoints while training goes on.

Guarantees:

* Jobs run one after the other, in the order of :meth:`BackgroundWriter.submit`.
* At most one job waits while another one runs, so that no more than two states are held; a further ``submit`` blocks
  until there is room, and says so once.
* While training goes on the thread keeps out of its way: lowest priority, a rest after every few MiB. When somebody
  waits for it, it hurries; when only the next job does, it rests no more.
* An exception ends its job only. It is handed out once by :meth:`BackgroundWriter.take_error`.
* A forked child has neither the thread nor its jobs, which are done by the parent: there the writer begins anew.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

from tf_hfwb.checkpoint.manifest import Pace

_logger = logging.getLogger("tf_hfwb")

_LOWEST = 19  # As nice as can be.
# Seconds after each chunk. On two busy cores the worst training step takes 1.12 of a calm one with it, 1.25 with a
# quarter of it, and twice as long without.
_REST = 0.02


class BackgroundWriter:
    """Runs jobs that write files.

    Example:
        >>> writer = BackgroundWriter()
        >>> done = []
        >>> writer.submit(lambda pace: done.append("written"))
        >>> writer.close()
        >>> done
        ['written']
    """

    def __init__(self) -> None:
        self._begin()
        _writers.add(self)

    def _begin(self) -> None:
        self._jobs: queue.Queue[Callable[[Pace], None] | None] = queue.Queue(maxsize=1)
        self._thread: threading.Thread | None = None
        self._errors: list[Exception] = []
        self._waiting = 0
        self._has_said_that_it_blocks = False

    def submit(self, job: Callable[[Pace], None]) -> None:
        """Run ``job(pace)`` later; it calls ``pace`` with the number of bytes after every chunk that it writes."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="tf_hfwb-checkpoints", daemon=True)
            self._thread.start()
            atexit.register(self.flush)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            if not self._has_said_that_it_blocks:
                self._has_said_that_it_blocks = True
                _logger.warning(
                    "Checkpoints are made faster than they can be written: one is being written and one waits, so "
                    "training waits too. Save less often, or to a faster disk. This is said once."
                )
            with self._hurrying():
                self._jobs.put(job)

    def flush(self) -> None:
        """Wait until everything submitted is written, or has failed."""
        if self._thread is not None and threading.current_thread() is not self._thread:
            with self._hurrying():
                self._jobs.join()

    def take_error(self) -> Exception | None:
        """The oldest exception that nobody has been told of yet."""
        return self._errors.pop(0) if self._errors else None

    def close(self) -> None:
        """Flush, then end the thread; it starts again with the next job."""
        self.flush()
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
            atexit.unregister(self.flush)

    @contextlib.contextmanager
    def _hurrying(self) -> Iterator[None]:
        self._waiting += 1
        self._set_priority(0)
        try:
            yield
        finally:
            self._waiting -= 1
            self._set_priority(_LOWEST)

    def _set_priority(self, nice: int) -> None:
        """On Linux a thread has a priority of its own. Not everybody may raise it again; then it stays low."""
        thread = self._thread
        if sys.platform == "linux" and thread is not None and thread.native_id is not None:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread.native_id, nice)

    def _pace(self, _bytes: int) -> bool:
        if not self._waiting and self._jobs.empty():
            time.sleep(_REST)
        return bool(self._waiting)

    def _work(self) -> None:
        self._set_priority(0 if self._waiting else _LOWEST)
        while True:
            job = self._jobs.get()
            try:
                if job is None:
                    return
                job(self._pace)
            except Exception as error:
                self._errors.append(error)
            finally:
                del job  # With the state that it holds.
                self._jobs.task_done()


_writers: weakref.WeakSet[BackgroundWriter] = weakref.WeakSet()


def _after_fork() -> None:
    for writer in list(_writers):
        atexit.unregister(writer.flush)
        writer._begin()  # With locks of its own: the parent's may have been held.


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
