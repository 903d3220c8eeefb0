"""The client's service: the process that keeps a run's log and talks to the server.

It may die, or hang, while training goes on. Nothing of ours may then wait for it for ever, and the client's own hook at
the end of the process does.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any


def is_trouble(error: BaseException) -> bool:
    """Whether an exception says that the service is gone, or does not answer, and not that a value is wrong."""
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

    return isinstance(error, (OSError, TimeoutError, asyncio.TimeoutError, HandleAbandonedError, MailboxClosedError))


def answers(run: Any, timeout: float) -> bool:
    """Whether the service answers a question for which it needs no server; True when it cannot be asked."""
    interface = getattr(run, "_interface", None)
    if interface is None:
        return True
    try:
        interface.deliver_get_summary().wait_or(timeout=timeout)
    except Exception as error:
        return not is_trouble(error)
    return True


def stop_console(run: Any) -> None:
    """Send no more of what is printed to a service that has failed: each line would be answered by a complaint."""
    with contextlib.suppress(Exception):
        run._console_stop()


def kill(run: Any) -> None:
    """End the service, so that whoever waits for it gets an error; left alone while another run needs it."""
    setup = sys.modules["wandb"].setup()
    process = getattr(getattr(getattr(setup, "_connection", None), "_proc", None), "_process", None)
    if isinstance(process, subprocess.Popen) and setup.most_recent_active_run in (None, run):
        process.kill()


def forget(run: Any) -> None:
    """After :func:`kill`: no run is open, and the client's hook at the end neither waits nor raises."""
    from wandb.sdk.lib import module

    wandb = sys.modules["wandb"]
    if wandb.run is run:
        module.unset_globals()  # type: ignore[no-untyped-call]
    if wandb.setup().most_recent_active_run in (None, run):
        with contextlib.suppress(Exception, SystemExit):  # It exits with the status of the service.
            wandb.teardown()


class Watchdog:
    """Calls a function when something takes too long.

    Its thread is there from the beginning: when the interpreter ends, Python starts no more.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._action: Callable[[], None] | None = None
        self._timeout: float | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._watch, name="tf_hfwb-watchdog", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def watching(self, timeout: float, action: Callable[[], None]) -> Any:
        """Call ``action`` on another thread if the block takes longer than so many seconds."""
        self._set(timeout, action)
        try:
            yield
        finally:
            self._set(None, None)

    def close(self) -> None:
        """End the thread."""
        self._is_closed = True
        self._set(None, None)
        if threading.current_thread() is not self._thread:
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
