"""Where a callback of this package stands in a list that works."""

from __future__ import annotations

from enum import IntEnum


class CallbackPlace(IntEnum):
    """What measures comes before what acts on it, and that before what saves it.

    Callbacks of Keras's and of users' are ``OTHERS``: behind evaluations, whose results they may look at.
    """

    LOGGER = 0
    WATCH = 1
    EVALUATION = 2
    OTHERS = 3
    TABLES = 4
    STOPPING = 5  # Its count of an epoch belongs into that epoch's checkpoint.
    STATES = 6
    SAVING = 7
    LAST_STEP = 8
    PROGRESS = 9  # Tells what the others have found.
