"""One ordered worker thread for what the training thread must not wait for.

Guarantees:

* Jobs run one after the other, in the order of :meth:`Worker.submit`, on one daemon thread.
* ``submit`` costs an append: it neither wakes nor waits for the worker, which looks for jobs every ``period`` seconds
  and runs all that are there. (Waking a thread for each job costs the submitter about four times as much.)
* After a millisecond the worker rests for two, unless somebody waits for it: the training thread, coming back from an
  operation, would otherwise wait for the interpreter until the whole queue is done. A long job calls ``rest`` between
  its parts for the same reason. The worker continues, within a millisecond, while the training thread is in an
  operation: elsewhere that thread may release the interpreter for a moment, and would have to wait for it.
* The jobs that one look finds are a batch, which runs inside ``batch()``.
* ``flush`` returns when the batches of all jobs submitted before it have run; ``close`` flushes and ends the thread. A
  closed worker starts again with the next job.
* An exception of a job does not stop the jobs after it; the first one is raised by the next ``flush`` or ``close``.
* A forked child has neither the thread nor its jobs, which the parent does: its worker begins with an empty queue.
"""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# How long jobs run, and how long the worker then rests.
_STRETCH_SECS, _REST_SECS = 0.001, 0.002
# How long the worker waits between two looks for a good moment, and how often it looks.
_LOOK_SECS, _MAX_LOOKS = 0.0002, 5


@dataclass
class _State:
    """The queue and the thread: all that a forked child must not take over. The parent's lock may be held.

    Attributes:
        jobs: The jobs that wait, with their arguments.
        awaited: The flushes that wait for the end of the batch.
        num_waiting: How many threads wait in a flush.
        error: The first exception of a job since the last flush.
    """

    jobs: collections.deque[tuple[Callable[..., Any], tuple[Any, ...]]] = field(default_factory=collections.deque)
    awaited: list[threading.Event] = field(default_factory=list)
    wake: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    thread: threading.Thread | None = None
    is_closing: bool = False
    num_waiting: int = 0
    error: BaseException | None = None


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
        self.is_good_moment: Callable[[], bool] = lambda: True
        self._name = name
        self._period = period
        self._batch = batch
        self._rested_at = 0.0
        self._state = _State()
        _workers.add(self)

    def submit(self, job: Callable[..., Any], *args: Any) -> None:
        """Run ``job(*args)`` later, after all jobs submitted before."""
        state = self._state
        state.jobs.append((job, args))
        if state.thread is None:
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
        state, is_finished = self._state, True
        if state.thread is not None and threading.current_thread() is not state.thread:
            done = threading.Event()
            state.jobs.append((state.awaited.append, (done,)))
            state.num_waiting += 1
            state.wake.set()
            is_finished = done.wait(timeout)
            state.num_waiting -= 1
        error, state.error = state.error, None
        if error is not None:
            raise error
        return is_finished

    def close(self, timeout: float | None = None) -> None:
        """Flush, then end the thread."""
        state = self._state
        try:
            self.flush(timeout)
        finally:
            with state.lock:
                thread, state.thread = state.thread, None
                state.is_closing = True
                state.wake.set()
            if thread is not None:
                thread.join(timeout)
            state.is_closing = False

    def rest(self) -> None:
        """Give the training thread its turn, if it is time for it; called by jobs."""
        if not self._state.num_waiting and time.monotonic() - self._rested_at > _STRETCH_SECS:
            time.sleep(_REST_SECS)
            self.give_way()

    def give_way(self) -> None:
        """Begin the next stretch of work at a good moment, if there is one soon; called by jobs."""
        for _ in range(_MAX_LOOKS):
            if self._state.num_waiting or self.is_good_moment():
                break
            time.sleep(_LOOK_SECS)
        self._rested_at = time.monotonic()

    def forget_parent(self) -> None:
        """In a forked child: begin with an empty queue."""
        self.is_good_moment = lambda: True
        self._state = _State()

    def _start(self) -> None:
        state = self._state
        with state.lock:
            if state.thread is None:
                state.wake.clear()
                state.thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                state.thread.start()

    def _work(self) -> None:
        state = self._state
        while True:
            while state.jobs:
                with self._batch():
                    self._run_batch()
                while state.awaited:
                    state.awaited.pop().set()
            if state.is_closing:
                return
            state.wake.wait(self._period)
            state.wake.clear()

    def _run_batch(self) -> None:
        state = self._state
        self.give_way()
        began = self._rested_at
        while state.jobs and not state.awaited and self._rested_at - began < self._period:
            job, args = state.jobs.popleft()
            try:
                job(*args)
            except BaseException as error:
                state.error = state.error or error
            self.rest()


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


def _after_fork() -> None:
    for worker in list(_workers):
        worker.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
