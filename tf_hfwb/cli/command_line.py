"""``main``: parse the command line, run the subcommand, report its errors."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import tf_hfwb
from tf_hfwb.cli import (
    checkpoints_command,
    export_command,
    link_command,
    report_command,
    show_command,
    sync_command,
    table_command,
)
from tf_hfwb.errors import TFHFWBError
from tf_hfwb.secret_masking import mask_text

# In the order in which --help lists them.
_COMMANDS = (
    show_command,
    table_command,
    report_command,
    checkpoints_command,
    link_command,
    export_command,
    sync_command,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Its words; those of the process when None.

    Returns:
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # What a terminal cannot show is written as Python writes it.
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    arguments = parser.parse_args(table_command.join_descending(sys.argv[1:] if argv is None else argv))
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        status: int = arguments.command(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # Whoever reads the output, such as head, has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
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
