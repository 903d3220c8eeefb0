"""What the ``..._private.py`` files have in common: the error when an installed version lacks a name.

These files hold every name that this package uses although the documentation of its library does not promise it. Each
has one function with the purpose in its docstring, so that a new version of a library is checked in one place. Such a
function looks a name up or sets it, and calls nothing of the user's: an error that is raised there is about the name.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tf_hfwb.errors import UnsupportedVersionError

_Parameters = ParamSpec("_Parameters")
_Found = TypeVar("_Found")

# The versions that the tests of this package run with.
TESTED_VERSIONS = {
    "datasets": "5.0",
    "keras": "3.15",
    "tensorflow": "2.21",
    "tf_keras": "2.21",
    "transformers": "4.57",
}


def looks_up(package: str) -> Callable[[Callable[_Parameters, _Found]], Callable[_Parameters, _Found]]:
    """Let a function raise UnsupportedVersionError where ``package`` lacks the name that it looks up."""

    def decorate(function: Callable[_Parameters, _Found]) -> Callable[_Parameters, _Found]:
        purpose = (function.__doc__ or function.__name__).splitlines()[0].rstrip(".")

        @functools.wraps(function)
        def look_up(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Found:
            try:
                return function(*args, **kwargs)
            except (AttributeError, ImportError) as error:
                raise UnsupportedVersionError(
                    package, _installed_version(package), TESTED_VERSIONS[package], purpose, error
                ) from error

        return look_up

    return decorate


def _installed_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of an unknown version"
