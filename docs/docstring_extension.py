"""Docstrings as the documentation shows them: an "Example" is a section of code, not a boxed note."""

from __future__ import annotations

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """Name sections as the parser of Google's style knows them."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Rename the sections of a docstring once it is read."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
