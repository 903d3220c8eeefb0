"""``main``: parse the command line, run the subcommand, report its errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import tf_hfwb
from tf_hfwb.cli import checkpoints_command, export_command, link_command, report_command, show_command, sync_command
from tf_hfwb.errors import TFHFWBError
from tf_hfwb.secret_masking import mask_text

# In the order in which --help lists them.
_COMMANDS = (show_command, report_command, checkpoints_command, link_command, export_command, sync_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Its words; those of the process when None.

    Returns:
        The exit status.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        return arguments.command(arguments)
    except (TFHFWBError, OSError) as error:
        print(f"error: {mask_text(str(error))}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tf-hfwb", description="Weights & Biases for Hugging Face models in TensorFlow and Keras."
    )
    parser.add_argument("--version", action="version", version=f"tf-hfwb {tf_hfwb.__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in _COMMANDS:
        command.add_to(commands)
    return parser
