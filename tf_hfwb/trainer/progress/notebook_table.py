"""A table of metrics in a notebook, which grows in its place while a training runs."""

from __future__ import annotations

import contextlib
import html
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from tf_hfwb.trainer.progress.progress_line import loss_first

_MOST_ROWS = 500  # Of more only the newest are shown: each update sends the whole table.


class NotebookTable:
    """A table with a row for each step of which something was told.

    Its place in the output of the cell is where it was made, so that lines which are printed later stay below it. Where
    IPython cannot display it, there is none.

    Attributes:
        is_shown: Whether the notebook displays it.
    """

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, float]] = {}
        self._lock = threading.Lock()
        self._handle: Any = None
        with contextlib.suppress(Exception):
            from IPython.display import display

            self._handle = display(_Html(""), display_id=True)  # type: ignore[no-untyped-call]

    @property
    def is_shown(self) -> bool:
        """Whether there is such a table."""
        return self._handle is not None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add values to the row of a step, and show it.

        Args:
            step: The global step.
            values: Numbers by their names.
        """
        with self._lock, contextlib.suppress(Exception):  # A notebook that is gone is no reason to end a training.
            self._rows[step] = {**self._rows.get(step, {}), **values}
            self._handle.update(_Html(html_table(self._rows)))


class _Html:
    """What a notebook shows as HTML."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text


def html_table(rows: Mapping[int, Mapping[str, float]]) -> str:
    """A table in HTML: a row for each step, a column for each name; losses come first.

    Args:
        rows: Values by their names, by step.

    Example:
        >>> html_table({5: {"loss": 0.5}})
        '<table><thead><tr><th>step</th><th>loss</th></tr></thead><tbody><tr><td>5</td><td>0.5</td></tr></tbody></table>'
    """
    names = loss_first(dict.fromkeys(name for row in rows.values() for name in row))
    names.sort(key=lambda name: name != "epoch")
    steps = sorted(rows)[-_MOST_ROWS:]
    head = _line("th", ["step", *names])
    body = "".join(_line("td", [str(step), *(_text(rows[step].get(name)) for name in names)]) for step in steps)
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _line(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
