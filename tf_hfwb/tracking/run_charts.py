"""Charts and pages in rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def bar_chart(values: Mapping[str, float], label: str, value: str, title: str) -> Any:
    """A bar for each name, from the longest to the shortest.

    Args:
        values: The lengths by the names.
        label: What the names are.
        value: What the lengths are.
        title: What stands above.
    """
    import wandb

    rows = [[name, values[name]] for name in sorted(values, key=lambda name: -values[name])]
    return wandb.plot.bar(wandb.Table(columns=[label, value], data=rows), label, value, title=title)


def html_page(text: str) -> Any:
    """HTML that is shown as it is."""
    import wandb

    return wandb.Html(text, inject=False)
