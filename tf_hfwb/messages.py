"""Good news, said at INFO, so that whoever wants only warnings can have them, and everybody else sees both.

All that this package says goes to the logger ``tf_hfwb``. While a program has not configured logging, Python shows
warnings and swallows what is below. So good news has a handler of last resort too, which writes the bare line to
standard error. Nothing is set up for that, at import or later: what the program says about logging counts, whenever it
says it.
"""

from __future__ import annotations

import logging
import sys

_logger = logging.getLogger("tf_hfwb")


def inform(message: str, *values: object) -> None:
    """Log good news at INFO.

    It is seen where nobody has asked for less: ``logging.getLogger("tf_hfwb").setLevel(logging.WARNING)`` silences it.
    A program that has handlers of its own gets it like any other message, by its own levels.

    Args:
        message: With ``%s`` and the like.
        values: For these.

    Example:
        >>> inform("Going on from %s.", "out/checkpoint-500")
    """
    # Colab gives the root logger a handler, at a level that swallows INFO, before the user has written a line.
    if _logger.hasHandlers() and "google.colab" not in sys.modules:
        _logger.info(message, *values, stacklevel=2)
    elif _wanted_level() <= logging.INFO:
        record = _logger.makeRecord(_logger.name, logging.INFO, __file__, 0, message, values, None)
        if _logger.hasHandlers():
            _logger.handle(record)
        elif _logger.filter(record):
            sys.stderr.write(f"{record.getMessage()}\n")


def _wanted_level() -> int:
    """The least level that the program has asked for; Python's own default is nobody's wish."""
    root = logging.getLogger().level
    wish = _logger.level or (logging.NOTSET if root == logging.WARNING else root)
    return max(wish, _logger.manager.disable + 1)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, to be quoted in another one."""
    return str(error).strip().partition("\n")[0]
