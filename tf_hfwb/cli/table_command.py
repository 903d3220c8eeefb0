"""``tf-hfwb table``: look at a table that a run has logged."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tf_hfwb.cli.run_choice import RUN_HELP, choose_run
from tf_hfwb.errors import SettingError

if TYPE_CHECKING:
    from tf_hfwb.run_records.run_record import RunRecord

_SHOWN = 100  # Rows on a terminal without --limit.
_EXAMPLES = """\
conditions:
  --where takes COLUMN OPERATOR VALUE, in quotes, and may be repeated: all of them must hold.
    == !=       numbers, true and false, texts; 'none' for an empty cell
    < <= > >=   numbers, or texts in the order of the alphabet
    ~ !~        a text that is, or is not, within the cell, whatever the case

examples:
  tf-hfwb table wandb/latest-run sample_predictions --where 'correct == false' --sort -loss --limit 20
  tf-hfwb table wandb/latest-run sample_predictions --where 'text ~ refund' --columns text,label,prediction
  tf-hfwb table wandb/latest-run sample_predictions --format csv > predictions.csv

W&B's own terminal dashboard, which tf-hfwb show opens, has no tables: it draws their numbers of rows, columns and
increments as charts, since the client writes them into the run's log as numbers like any others.
"""


def add_to(commands: Any) -> None:
    """Declare the subcommand.

    Args:
        commands: The subparsers of ``tf-hfwb``.
    """
    parser = commands.add_parser(
        "table",
        help="look at a table that a run has logged",
        description="Print a table that a run has logged, such as the one of predictions; without a KEY the only one, "
        "or a list of them. A table that grows, or whose run was resumed, is shown as a whole.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="?", help=RUN_HELP)
    parser.add_argument("key", nargs="?", help="the table's name, such as sample_predictions")
    parser.add_argument("--where", action="append", default=[], metavar="CONDITION", help="only rows that fulfil it")
    parser.add_argument(
        "--sort",
        action="append",
        default=[],
        metavar="COLUMN",
        help="in the order of this column, with a - in front the largest first; may be repeated",
    )
    parser.add_argument("--columns", action="append", default=[], metavar="NAMES", help="only these, with commas")
    parser.add_argument(
        "--limit", type=int, help=f"only so many rows; {_SHOWN} by default on a terminal, 0 for all of them"
    )
    parser.add_argument(
        "--format",
        choices=("table", "csv", "json", "markdown"),
        default="table",
        help="a table in which wide texts are cut if there is a terminal (default), or a format for other programs",
    )
    parser.set_defaults(command=_show_table)


def join_descending(words: Sequence[str]) -> list[str]:
    """A command line in which ``--sort -COLUMN`` is one word, or the column would be taken for an option.

    Example:
        >>> join_descending(["table", "--sort", "-loss"])
        ['table', '--sort=-loss']
    """
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--sort":
            joined[-1] = f"--sort={word}"
        else:
            joined.append(word)
    return joined


def _show_table(arguments: argparse.Namespace) -> int:
    if arguments.limit is not None and arguments.limit < 0:
        raise SettingError("--limit", arguments.limit, expected="a number of rows, or 0 for all of them")
    run = choose_run(arguments.run)
    keys = run.table_names()
    if arguments.key is None and len(keys) != 1:
        return _list_tables(run, arguments)
    key = keys[0] if arguments.key is None else arguments.key
    table = run.table(key)
    _print(arguments, table.columns, _with_files(run, table.rows), f"{key} of {run.name}")
    return 0


def _list_tables(run: RunRecord, arguments: argparse.Namespace) -> int:
    if not run.table_names():
        raise SettingError(
            "run",
            run.name,
            expected="a run with tables, and it has logged none",
            advice="WandbEvalTable and wandb.log(wandb.Table(...)) log them.",
        )
    rows = []
    for key in run.table_names():
        table = run.table(key)
        rows.append([key, len(table.rows), ", ".join(table.columns)])
    _print(arguments, ("table", "rows", "columns"), rows, f"tables of {run.name}; name one of them")
    return 0


def _print(arguments: argparse.Namespace, columns: Sequence[str], rows: Sequence[Sequence[Any]], what: str) -> None:
    """Print the rows and columns that are wanted, in the order and the format that are wanted."""
    from tf_hfwb.cli import row_choice, table_formats

    for text in arguments.where:
        rows = [*filter(row_choice.parse_condition(text, columns, rows), rows)]
    rows = row_choice.sort_rows(rows, columns, arguments.sort)
    places = [row_choice.place_of(name, columns, "--columns") for name in _names(arguments.columns, columns)]
    is_cut = arguments.format == "table" and sys.stdout.isatty()
    limit = (_SHOWN if is_cut else 0) if arguments.limit is None else arguments.limit
    shown = [[row[place] for place in places] for row in (rows[:limit] if limit else rows)]
    names = [columns[place] for place in places]
    if arguments.format == "table":
        number = (
            f"{len(shown)} of {len(rows)} rows; --limit 0 shows all" if len(shown) < len(rows) else f"{len(rows)} rows"
        )
        table_formats.print_table(names, shown, f"{what}: {number}")
        return
    write = {
        "csv": table_formats.write_csv,
        "json": table_formats.write_json,
        "markdown": table_formats.write_markdown,
    }[arguments.format]
    write(names, shown, sys.stdout)


def _names(wanted: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The columns that are wanted; a name may have a comma in it."""
    if not wanted:
        return [*columns]
    return [name for part in wanted for name in ([part] if part in columns else part.split(","))]


def _with_files(run: RunRecord, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows with the path of its file in the place of each image or the like."""
    return [[_path_or_value(run, cell) for cell in row] for row in rows]


def _path_or_value(run: RunRecord, cell: Any) -> Any:
    if not isinstance(cell, dict) or "path" not in cell:
        return cell
    path = run.file_of(cell)
    if path is None:
        return cell["path"]
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative
