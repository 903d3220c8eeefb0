"""One ordered worker thread for what the training thread must not wait for.

Guarantees:

* Jobs run one after the other, in the order of :meth:`Worker.submit`, on one daemon thread.
* ``submit`` costs an append: it neither wakes nor waits for the worker, which looks for jobs every ``period`` seconds
  and runs all that are there. (Waking a thread for each job costs the submitter about four times as much.)
* After a millisecond the worker rests for two, unless somebody waits for it: the training thread, coming back from an
  operation, would otherwise wait for the interpreter until the whole queue is done. A long job calls ``rest`` between
  its parts for the same. It goes on, within a millisecond, while the training thread is in an operation: elsewhere
  that thread may let go of the interpreter for a moment, and would have to wait for it.
* What one look finds is a batch, which runs inside ``batch()``.
* ``flush`` returns when the batches of all jobs submitted before it have run; ``close`` flushes and ends the thread. A
  closed worker starts again with the next job.
* An exception of a job does not stop the jobs after it; the first one is raised by the next ``flush`` or ``close``.
* A forked child has neither the thread nor its jobs, which are done by the parent: there the worker begins anew.
"""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

# Seconds of jobs, and of rest after them; and of waiting for a better moment: a look, and how many.
_STRETCH, _REST = 0.001, 0.002
_LOOK, _LOOKS = 0.0002, 5


class Worker:
    """An ordered background worker.

    Args:
        name: The thread's name, as a debugger shows it.
        period: Seconds between two looks at the queue.
        batch: Makes the context in which a batch of jobs runs. It must not raise.

    Attributes:
        is_good_moment: Tells whether the training thread is in an operation, and needs no interpreter.

    Example:
        >>> done = []
        >>> worker = Worker("example")
        >>> for number in range(3):
        ...     worker.submit(done.append, number)
        >>> worker.close()
        >>> done
        [0, 1, 2]
    """

    def __init__(
        self,
        name: str,
        period: float = 0.1,
        batch: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self._name = name
        self._period = period
        self._batch = batch
        self._begin()
        _workers.add(self)

    def _begin(self) -> None:
        self._jobs: collections.deque[tuple[Callable[..., Any], tuple[Any, ...]]] = collections.deque()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False
        self.is_good_moment: Callable[[], bool] = lambda: True
        self._waiting = 0
        self._rested = 0.0
        self._awaited: list[threading.Event] = []  # Set when the batch has ended.
        self._error: BaseException | None = None

    def submit(self, job: Callable[..., Any], *args: Any) -> None:
        """Run ``job(*args)`` later, after all jobs submitted before."""
        self._jobs.append((job, args))
        if self._thread is None:
            self._start()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all jobs submitted so far have run.

        Args:
            timeout: Seconds to wait at most; None waits without end.

        Returns:
            Whether they have run; False after the timeout.

        Raises:
            Exception: The first exception that a job raised since the last flush.
        """
        finished = True
        if self._thread is not None and threading.current_thread() is not self._thread:
            done = threading.Event()
            self._jobs.append((self._awaited.append, (done,)))
            self._waiting += 1
            self._wake.set()
            finished = done.wait(timeout)
            self._waiting -= 1
        error, self._error = self._error, None
        if error is not None:
            raise error
        return finished

    def close(self, timeout: float | None = None) -> None:
        """Flush, then end the thread."""
        try:
            self.flush(timeout)
        finally:
            with self._lock:
                thread, self._thread = self._thread, None
                self._closing = True
                self._wake.set()
            if thread is not None:
                thread.join(timeout)
            self._closing = False

    def rest(self) -> None:
        """Give the training thread its turn, if it is time for it; called by jobs."""
        if not self._waiting and time.monotonic() - self._rested > _STRETCH:
            time.sleep(_REST)
            self.give_way()

    def give_way(self) -> None:
        """Begin the next stretch of work at a good moment, if there is one soon; called by jobs."""
        for _ in range(_LOOKS):
            if self._waiting or self.is_good_moment():
                break
            time.sleep(_LOOK)
        self._rested = time.monotonic()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._wake.clear()
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            while self._jobs:
                with self._batch():
                    self._run_batch()
                while self._awaited:
                    self._awaited.pop().set()
            if self._closing:
                return
            self._wake.wait(self._period)
            self._wake.clear()

    def _run_batch(self) -> None:
        self.give_way()
        began = self._rested
        while self._jobs and not self._awaited and self._rested - began < self._period:
            job, args = self._jobs.popleft()
            try:
                job(*args)
            except BaseException as error:
                self._error = self._error or error
            self.rest()


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


def _after_fork() -> None:
    for worker in list(_workers):
        worker._begin()  # With locks of its own: the parent's may have been held.


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
