"""Whether the packages are installed that only some of this package's users need."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence

from tf_hfwb.errors import MissingPackageError

# What the TF classes of transformers need, which end with its version 4.
_FOR_TF_CLASSES = ("transformers", "tensorflow", "tf_keras")


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed."""
    return not _missing(("tensorflow",))


def check_packages(purpose: str, *packages: str, extra: str) -> None:
    """Refuse what needs packages that are not installed, by name and without importing them.

    Args:
        purpose: What needs them, as the user calls it.
        *packages: The names by which they are imported.
        extra: What ``pip install`` takes to bring them.

    Raises:
        MissingPackageError: One of them is not installed.
    """
    missing = _missing(packages)
    if missing:
        raise MissingPackageError(purpose, missing, extra)


def check_tf_classes(purpose: str) -> None:
    """Refuse what needs the TF classes of transformers where they are not.

    Raises:
        MissingPackageError: transformers, TensorFlow or tf_keras is not installed, or transformers has no TF classes.
    """
    missing = _missing(_FOR_TF_CLASSES)
    if "transformers" not in missing and _major("transformers") > 4:
        missing.insert(0, "transformers<5")
    if missing:
        raise MissingPackageError(purpose, missing, "tf_hfwb[transformers]")


def _missing(packages: Sequence[str]) -> list[str]:
    return [package for package in packages if importlib.util.find_spec(package) is None]


def _major(package: str) -> int:
    return int(importlib.metadata.version(package).partition(".")[0])
