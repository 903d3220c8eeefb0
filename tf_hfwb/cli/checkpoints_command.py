"""``tf-hfwb checkpoints``: list checkpoints, here and on W&B."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tf_hfwb.cli.terminal_text import plain_text

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from tf_hfwb.resume.checkpoint_listing import Listed


def add_to(commands: Any) -> None:
    """Declare the subcommand.

    Args:
        commands: The subparsers of ``tf-hfwb``.
    """
    parser = commands.add_parser(
        "checkpoints",
        help="list checkpoints, here and on W&B",
        description="List the checkpoints of a directory, or of an artifact, on this machine and on W&B side by side.",
    )
    parser.add_argument(
        "source",
        nargs="?",
        default=".",
        help="a directory with checkpoint-STEP in it (the current one by default), "
        "or an artifact's name, such as checkpoint-my-run",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=_list_checkpoints)


def _list_checkpoints(arguments: argparse.Namespace) -> int:
    from tf_hfwb.json_text import dumps
    from tf_hfwb.resume.checkpoint_listing import checkpoints

    listed = checkpoints(arguments.source)
    if arguments.json:
        print(dumps([dataclasses.asdict(checkpoint) for checkpoint in listed], indent=2))
    else:
        _print_table(listed)
    return 1 if all(checkpoint.damage for checkpoint in listed) else 0


def _print_table(listed: Sequence[Listed]) -> None:
    """A table of all, and below it what is wrong with the damaged ones."""
    import rich.console

    console = rich.console.Console()
    console.print(_table(listed))
    for checkpoint in listed:
        if checkpoint.damage:
            console.print(_plain_text(checkpoint.damage), soft_wrap=True)


def _table(listed: Sequence[Listed]) -> Table:
    import rich.box
    import rich.table

    artifacts = dict.fromkeys(checkpoint.version.rpartition(":")[0] for checkpoint in listed if checkpoint.version)
    caption = _plain_text(f"on W&B: {', '.join(artifacts)}") if artifacts else None
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, caption=caption)
    table.add_column("step", justify="right")
    table.add_column("epoch", justify="right")
    table.add_column("metrics")
    table.add_column("size", justify="right")
    has_bases = any(checkpoint.base for checkpoint in listed)
    for name in ("aliases", "here", "on W&B", *(["base"] if has_bases else [])):
        table.add_column(name, overflow="fold")
    for checkpoint in listed:
        cells = _cells(checkpoint, has_one_artifact=len(artifacts) == 1)
        table.add_row(*map(_plain_text, [*cells, *([checkpoint.base or ""] if has_bases else [])]))
    return table


def _cells(checkpoint: Listed, *, has_one_artifact: bool) -> tuple[str, ...]:
    """The cells of a row; with one artifact for all rows, the caption names it."""
    import rich.filesize

    numbers = {name: value for name, value in checkpoint.metrics.items() if isinstance(value, float)}
    metrics = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
    version = checkpoint.version or ""
    # Of these the columns of steps and epochs tell already.
    aliases = [alias for alias in checkpoint.aliases if not alias.startswith(("step-", "epoch-"))]
    return (
        str(checkpoint.step),
        "" if checkpoint.epoch is None else f"{checkpoint.epoch:.2f}",
        "damaged, see below" if checkpoint.damage else metrics,
        "" if checkpoint.size is None else rich.filesize.decimal(checkpoint.size),
        " ".join(aliases),
        "" if checkpoint.path is None else os.path.relpath(checkpoint.path),
        version.rpartition(":")[2] if has_one_artifact else version,
    )


def _plain_text(words: str) -> Text:
    """Words that others chose, without markup."""
    import rich.text

    return rich.text.Text(plain_text(words))
