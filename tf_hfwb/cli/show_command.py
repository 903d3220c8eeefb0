"""``tf-hfwb show``: look at a local run."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_WANDB_LEET = (sys.executable, "-m", "wandb", "leet")  # W&B's terminal dashboard.
_FACTS = ("run_id", "name", "project", "state", "exit_code", "start_time", "step")


def add_to(commands: Any) -> None:
    """Declare the subcommand.

    Args:
        commands: The subparsers of ``tf-hfwb``.
    """
    parser = commands.add_parser(
        "show",
        help="look at a local run",
        description="Open a local run in W&B's terminal dashboard; print its summary when there is no terminal.",
    )
    parser.add_argument("run", nargs="?", help="a run's folder; the latest one below ./wandb by default")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(command=_show)


def _show(arguments: argparse.Namespace) -> int:
    path = arguments.run or os.path.join("wandb", "latest-run")
    if not os.path.exists(path):
        print(
            f"error: there is no run at {path!r}. Expected the folder of a run, such as wandb/offline-run-DATE-ID. "
            "Name it, or call this where the run was started.",
            file=sys.stderr,
        )
        return 2
    from tf_hfwb.tracking.local_run import LocalRun

    run = LocalRun.find(path)
    if sys.stdout.isatty() and not arguments.json:
        return _open_dashboard(path, run.folders)
    if len(run.folders) == 1:
        options = ["--json"] if arguments.json else []
        return subprocess.call([*_WANDB_LEET, "inspect", "--summary", *options, path])
    # The run was resumed: W&B's own summary is of a single folder.
    _print_facts({**run.facts, "folders": run.folders}, as_json=arguments.json)
    return 0


def _open_dashboard(path: str, folders: Sequence[str]) -> int:
    if len(folders) == 1:
        return subprocess.call([*_WANDB_LEET, "run", path])
    print(f"This run has {len(folders)} folders; the dashboard shows the rows of {folders[-1]}.")
    return subprocess.call([*_WANDB_LEET, "run", folders[-1]])


def _print_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    from tf_hfwb.json_text import dumps

    if as_json:
        print(dumps(facts, indent=2))
        return
    for name in _FACTS:
        print(f"{name:<11} {facts.get(name, '')}")
    for folder in facts["folders"]:
        print(f"{'folder':<11} {folder}")
    print("\nsummary")
    for name, value in sorted(facts["summary"].items()):
        print(f"  {name:<24} {value}")
