"""The exit code with which this process ends, as far as an ``atexit`` hook can know it.

The client has hooks of its own for that. They are private, and a process that uses the service of another one does not
have them.
"""

from __future__ import annotations

import functools
import sys

KILLED = 255  # What W&B shows as killed by the user.

_requested: list[int] = []  # By sys.exit; the last one counts.


@functools.cache  # Once in a process.
def watch() -> None:
    """From now on note with which status ``sys.exit`` is called: nothing else tells an ``atexit`` hook."""
    leave = sys.exit

    @functools.wraps(leave)
    def note_and_leave(status: object = None, /) -> None:
        if status is None:
            _requested[:] = [0]
        else:
            _requested[:] = [status if isinstance(status, int) else 1]  # A text is printed, and the status is 1.
        leave(status)  # type: ignore[arg-type]

    sys.exit = note_and_leave  # type: ignore[assignment]


def exit_code() -> int | None:
    """The exit code of this process, which is ending; None if nobody has asked for one."""
    # The interpreter notes the exception that nobody has caught, whatever other libraries put into sys.excepthook. At a
    # prompt and in a notebook such an exception does not end the process.
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    if error is not None:
        return code_of(error)
    return _requested[0] if _requested else None


def code_of(error: BaseException | None = None) -> int:
    """The exit code for a training that an exception has ended; by default the exception that was reported last."""
    error = getattr(sys, "last_value", None) if error is None else error
    return KILLED if isinstance(error, KeyboardInterrupt) else 1
