"""The exceptions that this package raises.

Every error derives from :class:`TFHFWBError` and from the built-in exception that a caller would otherwise have
caught, so ``except ValueError`` keeps working. Messages have three parts: what happened, with the value received;
what was expected; what to do.
"""

from __future__ import annotations

from collections.abc import Sequence


class TFHFWBError(Exception):
    """Base class of all errors of this package."""


class SettingError(TFHFWBError, ValueError):
    """A setting or argument has a value that is not understood.

    Attributes:
        name: The environment variable or argument.
        value: The value received.
        accepted: The accepted values, when they can be listed.
    """

    def __init__(self, name: str, value: object, *, accepted: Sequence[str] = (), expected: str = "", advice: str = ""):
        self.name = name
        self.value = value
        self.accepted = tuple(accepted)
        if not expected:
            expected = "one of " + ", ".join(repr(word) for word in self.accepted)
        message = f"{name}={value!r} is not recognised. Expected {expected}."
        super().__init__(f"{message} {advice}".rstrip())


class DataError(TFHFWBError, ValueError):
    """Training, evaluation or prediction data cannot be used as it is."""


class WeightsError(TFHFWBError, OSError):
    """Pretrained weights cannot be found, read or matched to the model."""
