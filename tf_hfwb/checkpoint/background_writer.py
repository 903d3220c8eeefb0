"""One thread that writes checkpoints while the model is trained.

Guarantees:

* Jobs run one after the other, in the order of :meth:`BackgroundWriter.submit`.
* At most one job waits while another one runs, so that no more than two states are held; a further ``submit`` blocks
  until there is room, and its time is added up.
* During training the thread has the lowest priority, and rests after every few MiB. When somebody waits for it, it has
  the normal priority and may use more threads; when only the next job waits, it merely stops resting.
* An exception ends its job only. :meth:`BackgroundWriter.take_error` returns it, once.
* The thread ends when nothing is left to write, however the fit has ended, and Python waits for it at exit. Errors that
  nobody has taken when the writer is deleted, or Python ends, are logged.
* A forked child has neither the thread nor its jobs, which the parent does: there the writer begins anew.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

from tf_hfwb.checkpoint.digests import Pace
from tf_hfwb.checkpoint.pending_writes import begin_writing, end_writing, writing_thread

_logger = logging.getLogger("tf_hfwb")

_LOWEST = 19  # The lowest priority, as the number that setpriority takes.
# Seconds after each chunk. On two busy cores the slowest training step takes 1.12 times as long as without a save,
# 1.25 times with a quarter of this rest, and twice as long with no rest.
_REST = 0.02


class BackgroundWriter:
    """Runs jobs that write files.

    Args:
        directory: The directory that they write into; readers of it in this process wait for them.

    Attributes:
        waited: Seconds that :meth:`submit` has waited for room.

    Example:
        >>> writer = BackgroundWriter("out")
        >>> done = []
        >>> writer.submit(lambda pace: done.append("written"))
        >>> writer.flush()
        >>> done
        ['written']
    """

    # Made anew by forget.
    _changed: threading.Condition
    _jobs: collections.deque[Callable[[Pace], None]]
    _submitted: int
    _done: int
    _thread: threading.Thread | None
    _waiting: int

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = directory
        self._errors: list[Exception] = []
        self._untold: list[str] = []  # The texts of the errors: their tracebacks would keep the writer alive.
        weakref.finalize(self, _log, self._untold)
        self.waited = 0.0
        self.forget()

    def forget(self) -> None:
        """Drop all jobs; called in a forked process, whose parent does them."""
        self._changed = threading.Condition()
        self._jobs = collections.deque()
        self._submitted = self._done = 0
        self._thread = None
        self._waiting = 0

    def submit(self, job: Callable[[Pace], None]) -> None:
        """Run ``job(pace)`` later; it calls ``pace`` with the number of bytes after every chunk that it writes."""
        if self._submitted - self._done > 1:
            began = time.monotonic()
            self._wait_until(self._submitted - 1)
            self.waited += time.monotonic() - began
        with self._changed:
            self._jobs.append(job)
            self._submitted += 1
            if self._thread is None:
                begin_writing(self, self._directory)
                # Python waits at exit for a thread that is not a daemon.
                self._thread = threading.Thread(target=self._work, name="tf_hfwb-checkpoints", daemon=False)
                self._thread.start()

    def flush(self) -> None:
        """Wait until everything submitted so far is written, or has failed."""
        if threading.current_thread() is not self._thread:
            self._wait_until(self._submitted)

    def take_error(self) -> Exception | None:
        """The oldest exception that was not returned yet; None if there is none."""
        if not self._errors:
            return None
        del self._untold[0]
        return self._errors.pop(0)

    def _wait_until(self, done: int) -> None:
        if self._done < done:
            with self._hurrying(), self._changed:
                self._changed.wait_for(lambda: self._done >= done)

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
        """Set the thread's priority, which is its own on Linux. Where it may not be raised again, it stays low."""
        thread = self._thread
        if sys.platform == "linux" and thread is not None and thread.native_id is not None:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread.native_id, nice)

    def _pace(self, _bytes: int) -> bool:
        if not self._waiting and not self._jobs and not _python_is_ending():
            time.sleep(_REST)
        return bool(self._waiting)

    def _work(self) -> None:
        self._set_priority(0 if self._waiting else _LOWEST)
        with writing_thread():
            while True:
                with self._changed:
                    if not self._jobs:
                        self._thread = None
                        end_writing(self)
                        break
                    job = self._jobs.popleft()
                try:
                    job(self._pace)
                except Exception as error:
                    self._untold.append(str(error))
                    self._errors.append(error)
                finally:
                    del job  # With the state that it holds.
                    with self._changed:
                        self._done += 1
                        self._changed.notify_all()


def _log(errors: list[str]) -> None:
    for error in errors:
        _logger.warning("%s", error)


def _python_is_ending() -> bool:
    return not threading.main_thread().is_alive()
