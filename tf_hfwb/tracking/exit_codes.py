"""With which exit code a process ends, as far as an ``atexit`` hook can know.

The client has hooks of its own for that. They are private, and not there in a process that uses the service of another
one.
"""

from __future__ import annotations

import functools
import sys

KILLED = 255  # What W&B shows as killed by the user.

_asked: list[int] = []


@functools.cache  # Once in a process.
def watch() -> None:
    """From now on note what ``sys.exit`` is called with: nothing else tells an ``atexit`` hook."""
    leave = sys.exit

    @functools.wraps(leave)
    def noted(status: object = None, /) -> None:
        _asked[:] = [0 if status is None else status if isinstance(status, int) else 1]
        leave(status)  # type: ignore[arg-type]

    sys.exit = noted  # type: ignore[assignment]


def exit_code() -> int | None:
    """That of the process that ends; None if nothing was said."""
    # The interpreter notes what nobody has caught, whatever other libraries put into sys.excepthook. At a prompt and
    # in a notebook that is not the end.
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    if error is not None:
        return code_of(error)
    return _asked[0] if _asked else None


def code_of(error: BaseException | None = None) -> int:
    """The exit code for a training that an exception has ended; by default for the one that was reported last."""
    error = getattr(sys, "last_value", None) if error is None else error
    return KILLED if isinstance(error, KeyboardInterrupt) else 1
