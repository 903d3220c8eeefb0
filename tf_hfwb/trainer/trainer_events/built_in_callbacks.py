"""Callbacks that transformers' ``Trainer`` has by itself, and whose work is done without them here."""

from __future__ import annotations

import enum
import sys
from typing import Any


class BuiltIn(enum.Enum):
    """What such a callback is for."""

    PROGRESS = enum.auto()
    TRACKING = enum.auto()
    FLOW = enum.auto()


def built_in(callback: Any) -> BuiltIn | None:
    """What transformers' own callback is for; None for all others.

    Args:
        callback: A callback or its class. A class derived from one of transformers is the user's own.
    """
    return _purposes().get(callback if isinstance(callback, type) else type(callback))


def _purposes() -> dict[type, BuiltIn]:
    """The classes whose modules have been imported: else no callback is one of them."""
    purposes: dict[type, BuiltIn] = {}
    if "transformers.trainer_callback" in sys.modules:
        from transformers.trainer_callback import DefaultFlowCallback, PrinterCallback, ProgressCallback

        purposes |= dict.fromkeys((PrinterCallback, ProgressCallback), BuiltIn.PROGRESS)
        purposes[DefaultFlowCallback] = BuiltIn.FLOW
    if "transformers.utils.notebook" in sys.modules:
        from transformers.utils.notebook import NotebookProgressCallback

        purposes[NotebookProgressCallback] = BuiltIn.PROGRESS
    if "transformers.integrations.integration_utils" in sys.modules:
        from transformers.integrations.integration_utils import WandbCallback

        purposes[WandbCallback] = BuiltIn.TRACKING
    return purposes
