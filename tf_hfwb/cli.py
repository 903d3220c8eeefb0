"""The command ``tf-hfwb``. Each subcommand imports what it needs when it runs."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

import tf_hfwb
from tf_hfwb.errors import TFHFWBError


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
    link = commands.add_parser(
        "link",
        help="put a model into the registry",
        description="Put a version of an artifact into a collection of W&B's model registry.",
    )
    link.add_argument("artifact", help="such as model-my-run:final or entity/project/model-my-run:v3")
    link.add_argument("collection", help="NAME, or wandb-registry-REGISTRY/NAME")
    link.add_argument("--alias", action="append", default=[], help="an alias in the collection; may be repeated")
    link.set_defaults(command=_link)
    sync = commands.add_parser(
        "sync",
        help="upload what an online run could not",
        description="Bring to W&B what it lacks of an online run after an outage: rows, checkpoints, the model. "
        "For offline runs there is: wandb sync.",
    )
    sync.add_argument("run", help="the run's folder, such as wandb/run-DATE-ID")
    sync.set_defaults(command=_sync)
    arguments = parser.parse_args(argv)
    try:
        return arguments.command(arguments)
    except (TFHFWBError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _link(arguments: argparse.Namespace) -> int:
    from tf_hfwb.tracking.registry import link_to_registry

    print(link_to_registry(arguments.artifact, arguments.collection, arguments.alias))
    return 0


def _sync(arguments: argparse.Namespace) -> int:
    from tf_hfwb.tracking.recovery import sync

    done = sync(arguments.run)
    print(f"{done.run_path}: {done.rows} rows and {len(done.artifacts)} artifacts uploaded")
    for path in done.missing:
        print(f"error: {path} could not be uploaded", file=sys.stderr)
    return 1 if done.missing else 0


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
