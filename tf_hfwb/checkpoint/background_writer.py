"""One thread that writes checkpoints while training goes on.

Guarantees:

* Jobs run one after the other, in the order of :meth:`BackgroundWriter.submit`.
* At most one job waits while another one runs, so that no more than two states are held; a further ``submit`` blocks
  until there is room, and its time is added up.
* While training goes on the thread keeps out of its way: lowest priority, a rest after every few MiB. When somebody
  waits for it, it hurries; when only the next job does, it rests no more.
* An exception ends its job only. It is handed out once by :meth:`BackgroundWriter.take_error`.
* The thread ends when nothing is left to write, however the fit has ended, and Python waits for it at its own end. What
  fails then is said at once, as nobody asks any more.
* A forked child has neither the thread nor its jobs, which are done by the parent: there the writer begins anew.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from tf_hfwb.checkpoint.digests import Pace
from tf_hfwb.checkpoint.pending_writes import begin_writing, end_writing, writing_thread

_logger = logging.getLogger("tf_hfwb")

_LOWEST = 19  # As nice as can be.
# Seconds after each chunk. On two busy cores the worst training step takes 1.12 of a calm one with it, 1.25 with a
# quarter of it, and twice as long without.
_REST = 0.02


class BackgroundWriter:
    """Runs jobs that write files.

    Args:
        directory: Where they write: readers of it in this process wait for them.

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

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = directory
        self._errors: list[Exception] = []
        self.waited = 0.0
        self.forget()

    def forget(self) -> None:
        """Begin with nothing to write; called in a forked process, whose parent writes what is here."""
        self._changed = threading.Condition()
        self._jobs: collections.deque[Callable[[Pace], None]] = collections.deque()
        self._submitted = self._done = 0
        self._thread: threading.Thread | None = None
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
                # Python waits at its end for a thread that is no daemon.
                self._thread = threading.Thread(target=self._work, name="tf_hfwb-checkpoints", daemon=False)
                self._thread.start()

    def flush(self) -> None:
        """Wait until everything submitted so far is written, or has failed."""
        if threading.current_thread() is not self._thread:
            self._wait_until(self._submitted)

    def take_error(self) -> Exception | None:
        """The oldest exception that nobody has been told of yet."""
        return self._errors.pop(0) if self._errors else None

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
        """On Linux a thread has a priority of its own. Not everybody may raise it again; then it stays low."""
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
                    self._errors.append(error)
                finally:
                    del job  # With the state that it holds.
                    with self._changed:
                        self._done += 1
                        self._changed.notify_all()
        while _python_is_ending() and (error_left := self.take_error()) is not None:
            _logger.warning("%s", error_left)


def _python_is_ending() -> bool:
    return not threading.main_thread().is_alive()
