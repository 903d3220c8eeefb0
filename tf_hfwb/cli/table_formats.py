"""A table in a terminal, as CSV, JSON and Markdown. What is in it is text everywhere, whatever it looks like."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from tf_hfwb.cli.row_choice import cell_text
from tf_hfwb.cli.terminal_text import plain_text

if TYPE_CHECKING:
    from rich.table import Table

Rows = Sequence[Sequence[Any]]

_NARROWEST = 8  # Columns of text are not cut further; a table with too many columns is squeezed.
_ENDLESS = 100_000  # The width where there is no terminal.
_LARGEST_WHOLE = 1e15  # Of an integer every digit counts, as in an id.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&!])")  # What means something in Markdown, or in HTML within it.


def write_csv(columns: Sequence[str], rows: Rows, stream: TextIO) -> None:
    """Write CSV; on a terminal, signs that control it are neutralised."""
    clean = plain_text if stream.isatty() else _encodable
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(clean, columns))
    writer.writerows([clean(cell_text(cell)) for cell in row] for row in rows)


def write_json(columns: Sequence[str], rows: Rows, stream: TextIO) -> None:
    """Write a list of objects, one a line."""
    from tf_hfwb.json_text import dumps

    lines = (dumps(dict(zip(columns, row, strict=True))) for row in rows)
    stream.write("[")
    for number, line in enumerate(lines):
        stream.write(f"{',' if number else ''}\n  {line}")
    stream.write("\n]\n" if rows else "]\n")


def write_markdown(columns: Sequence[str], rows: Rows, stream: TextIO) -> None:
    """Write a table of GitHub's Markdown."""
    for line in (columns, ["---"] * len(columns)):
        stream.write(f"| {' | '.join(line if line is not columns else map(_markdown, columns))} |\n")
    for row in rows:
        stream.write(f"| {' | '.join(_markdown(cell_text(cell)) for cell in row)} |\n")


def print_table(columns: Sequence[str], rows: Rows, caption: str) -> None:
    """Print a table for a person: on a terminal wide texts are cut, so that a row is a line."""
    import rich.console

    console = rich.console.Console(width=None if sys.stdout.isatty() else _ENDLESS)
    console.print(_rich_table(columns, rows, console.width))
    console.print(plain_text(caption), markup=False, highlight=False, soft_wrap=True)


def _rich_table(columns: Sequence[str], rows: Rows, width: int) -> Table:
    import rich.box
    import rich.table
    import rich.text

    texts = [[plain_text(_short_number(cell)) for cell in row] for row in rows]
    names = [plain_text(name) for name in columns]
    numeric = [any(_is_number(row[place]) for row in rows) for place in range(len(columns))]
    widths = _fit(names, texts, numeric, width - 3 * len(columns))
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for name, is_numeric, max_width in zip(names, numeric, widths, strict=True):
        table.add_column(
            rich.text.Text(name),
            justify="right" if is_numeric else "left",
            no_wrap=True,
            overflow="ellipsis",
            max_width=max_width,
        )
    for row in texts:
        table.add_row(*map(rich.text.Text, row))
    return table


def _fit(names: Sequence[str], texts: Sequence[Sequence[str]], numeric: Sequence[bool], width: int) -> list[int]:
    """The width of each column: numbers are whole, and the widest texts are cut to one width that fits."""
    from rich.cells import cell_len

    natural = [max(map(cell_len, column)) for column in zip(names, *texts, strict=True)]
    free = width - sum(one for one, is_numeric in zip(natural, numeric, strict=True) if is_numeric)
    cut = [one for one, is_numeric in zip(natural, numeric, strict=True) if not is_numeric]
    limit = max(cut, default=0)
    while limit > _NARROWEST and sum(min(one, limit) for one in cut) > free:
        limit -= 1
    return [one if is_numeric else min(one, limit) for one, is_numeric in zip(natural, numeric, strict=True)]


def _short_number(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.0f}" if cell.is_integer() and abs(cell) < _LARGEST_WHOLE else f"{cell:.6g}"
    return cell_text(cell)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)


def _markdown(text: str) -> str:
    lines = [plain_text(line) for line in text.splitlines()]
    return "<br>".join(_MARKDOWN.sub(r"\\\1", line) for line in lines)


def _encodable(text: str) -> str:
    """A text with halves of surrogate pairs as Python writes them: no file can hold them."""
    return text.encode("utf-8", "backslashreplace").decode()
