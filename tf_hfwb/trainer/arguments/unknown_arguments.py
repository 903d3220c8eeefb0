"""Refuse arguments that ``TFTrainingArguments`` does not have, in the words in which a wrong value is refused."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from tf_hfwb.errors import UnknownArgumentError


def refuse_unknown(arguments: type, named: Mapping[str, Any]) -> None:
    """Refuse names that the constructor does not take.

    Args:
        arguments: The class. One whose constructor takes any name (``**options``) refuses them itself.
        named: The values by their names.

    Raises:
        UnknownArgumentError: There is no argument of that name.
    """
    parameters = inspect.signature(arguments.__init__).parameters  # type: ignore[misc]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = [name for name in parameters if name != "self"]
    for name, value in named.items():
        if name not in known:
            raise UnknownArgumentError(
                name, value, expected=f"an argument of {arguments.__name__}", advice=_advice(name, known)
            )


def _advice(name: str, known: Sequence[str]) -> str:
    similar = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {similar[0]!r}?" if similar else "docs/arguments.md lists them."
