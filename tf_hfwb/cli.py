"""The command ``tf-hfwb``. Each subcommand imports what it needs when it runs."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

import tf_hfwb


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="tf-hfwb", description="Weights & Biases for Hugging Face models in TensorFlow and Keras."
    )
    parser.add_argument("--version", action="version", version=f"tf-hfwb {tf_hfwb.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    show = commands.add_parser(
        "show",
        help="look at a local run",
        description="Open a local run in W&B's terminal dashboard; print its summary when there is no terminal.",
    )
    show.add_argument("run", nargs="?", help="a run's folder; the latest one below ./wandb by default")
    show.add_argument("--json", action="store_true", help="print the summary as JSON")
    show.set_defaults(command=_show)
    arguments = parser.parse_args(argv)
    return arguments.command(arguments)


def _show(arguments: argparse.Namespace) -> int:
    path = arguments.run or os.path.join("wandb", "latest-run")
    if not os.path.exists(path):
        print(
            f"error: there is no run at {path!r}. Expected the folder of a run, such as wandb/offline-run-DATE-ID. "
            "Name it, or call this where the run was started.",
            file=sys.stderr,
        )
        return 2
    leet = [sys.executable, "-m", "wandb", "leet"]
    if arguments.json:
        return subprocess.call([*leet, "inspect", "--summary", "--json", path])
    if sys.stdout.isatty():
        return subprocess.call([*leet, "run", path])
    return subprocess.call([*leet, "inspect", "--summary", path])
