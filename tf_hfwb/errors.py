"""The exceptions that this package raises.

Every error derives from :class:`TFHFWBError` and from the built-in exception that a caller would otherwise have caught,
so ``except ValueError`` keeps working. Messages have three parts: what happened, with the value received; what was
expected; what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from tf_hfwb.secret_masking import mask, mask_text


class TFHFWBError(Exception):
    """Base class of all errors of this package. No secret is in their messages."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(mask_text(arg) if isinstance(arg, str) else arg for arg in args))


class SettingError(TFHFWBError, ValueError):
    """A setting or argument has a value that is unknown, out of range, or does not go with another one.

    Attributes:
        name: The environment variable or argument.
        value: The value received.
        accepted: The accepted values, when they can be listed: ``value`` is not one of them. A value that is known and
            cannot be used comes with ``expected`` instead.
    """

    def __init__(self, name: str, value: object, *, accepted: Sequence[str] = (), expected: str = "", advice: str = ""):
        self.name = name
        self.value = value
        self.accepted = tuple(accepted)
        verdict = "cannot be used" if expected else "is not recognised"
        if not expected:
            expected = "one of " + ", ".join(repr(word) for word in self.accepted)
        # The name can tell that the value is a secret. Forms of secrets are masked in every message.
        shown = mask(value, name) if isinstance(value, (str, bytes)) else value
        super().__init__(f"{name}={shown!r} {verdict}. Expected {expected}. {advice}".rstrip())


class UnknownArgumentError(SettingError, TypeError):
    """An argument of that name does not exist."""


class UnsupportedVersionError(TFHFWBError, RuntimeError):
    """An installed library lacks a name inside it that this package needs.

    Attributes:
        package: The library.
        installed: Its installed version.
        tested: The version that this package is tested with.
    """

    def __init__(self, package: str, installed: str, tested: str, purpose: str, found: object):
        self.package = package
        self.installed = installed
        self.tested = tested
        super().__init__(
            f"{package} {installed} lacks a name that tf_hfwb looks up inside it ({found}), for this purpose: "
            f"{purpose}. Expected a version that has it, as {package} {tested}, which is tested. Install that one "
            f"(pip install '{package}=={tested}.*'), or a version of tf_hfwb that is made for yours."
        )


class MissingPackageError(TFHFWBError, ImportError):
    """What was called needs a package that is not installed, or another version of it.

    Attributes:
        missing: What is to be installed, as ``pip`` names it.
    """

    def __init__(self, purpose: str, missing: Sequence[str], extra: str):
        self.missing = tuple(missing)
        *others, last = missing
        names = f"{', '.join(others)} and {last}, which are" if others else f"{last}, which is"
        super().__init__(f"{purpose} needs {names} not installed. Install what is missing: pip install '{extra}'.")


class DataError(TFHFWBError, ValueError):
    """Training, evaluation or prediction data cannot be used as it is."""


class WeightsError(TFHFWBError, OSError):
    """Pretrained weights cannot be found, read or matched to the model."""


class UnsafeModelError(WeightsError):
    """A model could run code or read files while it is loaded, and nobody has said that its source is trusted."""


class ArtifactNotFoundError(TFHFWBError, FileNotFoundError):
    """A name that stands for an artifact leads to no directory.

    Attributes:
        reference: The name that was looked for.
        known: The names or aliases that exist.
    """

    def __init__(self, reference: str, message: str, known: Sequence[str] = ()):
        self.reference = reference
        self.known = tuple(known)
        super().__init__(message)


class UnsafeArtifactError(TFHFWBError, ValueError):
    """An artifact would write or read where it must not. Nothing of it was written."""


class CheckpointError(TFHFWBError):
    """Base class of the errors about checkpoints."""


class NotACheckpointError(CheckpointError, FileNotFoundError):
    """There is no committed checkpoint at that place."""


class CorruptCheckpointError(CheckpointError, ValueError):
    """A checkpoint's files are not those that were written."""


class CheckpointWriteError(CheckpointError, OSError):
    """A checkpoint could not be written; the ones before it are untouched."""


class DirectoryInUseError(CheckpointError, RuntimeError):
    """Another process saves its checkpoints into the directory."""


class StateMismatchError(CheckpointError, ValueError):
    """A checkpoint does not fit the model it is to be put into."""


class WorkerError(TFHFWBError, RuntimeError):
    """The workers of a training differ, or one of them does not come."""


class SearchError(TFHFWBError, RuntimeError):
    """A trial of a hyperparameter search has failed, or all of them have."""


class ServerError(TFHFWBError, ConnectionError):
    """The W&B server was needed and could not be asked, or refused."""


class ExportError(TFHFWBError, RuntimeError):
    """A model cannot be exported for serving, or the export does not compute what the model computes."""
