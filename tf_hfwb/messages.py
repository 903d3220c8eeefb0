"""Messages below a warning, logged at INFO, so that whoever wants only warnings can have them.

Everything that this package logs goes to the logger ``tf_hfwb``. While a program has not configured logging, Python
shows warnings and swallows what is below. So these messages have a handler of last resort, which writes the bare line
to standard error. It needs no setup, at import or later: the program's configuration of logging counts, whenever it is
made.
"""

from __future__ import annotations

import logging
import sys

_logger = logging.getLogger("tf_hfwb")


def inform(message: str, *values: object) -> None:
    """Log a message at INFO, which is shown although Python's default shows only warnings.

    Whoever wants fewer messages calls ``logging.getLogger("tf_hfwb").setLevel(logging.WARNING)``.
    A program that has handlers of its own gets it like any other message, by its own levels.

    Args:
        message: The text, with ``%s`` and the like.
        values: The values for these.

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
    """The lowest level that the program has asked for; Python's own default does not count."""
    level = _logger.level
    if not level:
        root_level = logging.getLogger().level
        level = logging.NOTSET if root_level == logging.WARNING else root_level
    return max(level, _logger.manager.disable + 1)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, to be quoted in another one."""
    return str(error).strip().partition("\n")[0]
