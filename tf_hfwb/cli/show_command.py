"""``tf-hfwb show``: look at a run."""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tf_hfwb.cli import dashboard_command
from tf_hfwb.cli.run_choice import RUN_HELP, choose_run
from tf_hfwb.cli.terminal_text import plain_text

if TYPE_CHECKING:
    from tf_hfwb.run_records.run_record import RunRecord

_WANDB_LEET = (sys.executable, "-m", "wandb", "leet")  # W&B's terminal dashboard.

_CONSOLE_LINES = 10  # Of what the run has printed last.


def add_to(commands: Any) -> None:
    """Declare the subcommand.

    Args:
        commands: The subparsers of ``tf-hfwb``.
    """
    parser = commands.add_parser(
        "show",
        help="look at a local run",
        description="Open a run in W&B's terminal dashboard; print its summary when there is no terminal. The "
        "dashboard shows one folder: of a run that was resumed, the newest. It draws a table as three charts, of its "
        "numbers of rows, columns and increments; tf-hfwb table shows what is in it.",
    )
    parser.add_argument("run", nargs="?", help=RUN_HELP)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    dashboard_command.add_arguments(parser)
    parser.set_defaults(command=_show)


def _show(arguments: argparse.Namespace) -> int:
    if dashboard_command.is_asked_for(arguments):
        return dashboard_command.show(arguments)
    run = choose_run(arguments.run)
    run.source.warn_of_missing_end()
    if sys.stdout.isatty() and not arguments.json and run.folders:
        return _open_dashboard(run)
    facts = _facts(run)
    if arguments.json:
        from tf_hfwb.json_text import dumps

        print(dumps(facts, indent=2))
    else:
        _print_facts(facts)
    return 0


def _open_dashboard(run: RunRecord) -> int:
    if len(run.folders) > 1:
        print(f"This run has {len(run.folders)} folders; the dashboard shows the rows of {run.folders[-1]}.")
    for key in run.table_names():
        print(plain_text(f"It has a table, which the dashboard cannot show: tf-hfwb table {run.folders[-1]} {key}"))
    return subprocess.call([*_WANDB_LEET, "run", run.folders[-1]])


def _facts(run: RunRecord) -> dict[str, Any]:
    from tf_hfwb.run_records.value_texts import short_summary
    from tf_hfwb.tracking.log_inspection import summary_of
    from tf_hfwb.tracking.log_items import ROW_STEP

    started = None if run.started is None else datetime.datetime.fromtimestamp(run.started, datetime.timezone.utc)
    return {
        "run_id": run.run_id,
        "name": run.name,
        "project": run.project,
        "entity": run.entity,
        "group": run.group,
        "job_type": run.job_type,
        "tags": run.tags,
        "notes": run.notes,
        "state": run.state,
        "exit_code": run.exit_code,
        "start_time": None if started is None else started.isoformat(timespec="seconds"),
        "runtime": run.runtime,
        "step": run.summary.get(ROW_STEP),
        "url": run.url,
        "folders": run.folders,
        "config": run.config,
        "summary": short_summary(run),
        "console": [line["line"] for line in summary_of(run.folders[-1])["console"]] if run.folders else [],
    }


def _print_facts(facts: Mapping[str, Any]) -> None:
    for name, value in facts.items():
        if name not in ("config", "summary", "folders", "tags", "console") and value not in (None, ""):
            print(f"{name:<11} {plain_text(str(value))}")
    if facts["tags"]:
        print(f"{'tags':<11} {plain_text(', '.join(facts['tags']))}")
    for folder in facts["folders"]:
        print(f"{'folder':<11} {plain_text(folder)}")
    print("\nsummary")
    for name, value in facts["summary"].items():
        if not name.startswith("_"):
            print(f"  {plain_text(name):<28} {plain_text(str(value))}")
    if facts["console"]:
        print("\nconsole")
        for line in facts["console"][-_CONSOLE_LINES:]:
            print(f"  {plain_text(line)}")
