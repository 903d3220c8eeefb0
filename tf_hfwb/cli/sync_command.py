"""``tf-hfwb sync``: upload what is not on W&B yet."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_to(commands: Any) -> None:
    """Declare the subcommand.

    Args:
        commands: The subparsers of ``tf-hfwb``.
    """
    parser = commands.add_parser(
        "sync",
        help="upload what is not on W&B yet",
        description="Bring to W&B what it lacks of a run, after an outage or of an offline run: rows, checkpoints, the "
        "model. A run that was resumed has several folders; those that lie together are found.",
    )
    parser.add_argument(
        "run",
        nargs="+",
        help="a folder of the run, such as wandb/run-DATE-ID; all of them, and files of rows, if they lie apart",
    )
    parser.set_defaults(command=_sync)


def _sync(arguments: argparse.Namespace) -> int:
    from tf_hfwb.tracking.sync import sync

    done = sync(*arguments.run)
    print(f"{done.run_path}: {done.rows} rows and {len(done.artifacts)} artifacts uploaded")
    for path in done.skipped:
        print(f"not uploaded: {path}. W&B has newer versions, and would take it for the latest.")
    for path in done.missing:
        print(f"error: {path} could not be uploaded", file=sys.stderr)
    return 1 if done.missing else 0
