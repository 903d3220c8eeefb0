"""``tf-hfwb report``: one HTML page of runs."""

from __future__ import annotations

import argparse
from typing import Any


def add_to(commands: Any) -> None:
    """Declare the subcommand.

    Args:
        commands: The subparsers of ``tf-hfwb``.
    """
    parser = commands.add_parser(
        "report",
        help="make an HTML page of runs",
        description="Make one HTML page of one or several runs, offline or online ones: curves, histograms, "
        "checkpoints, tables, configurations, the machine's use. It holds all it needs: send it to anybody.",
    )
    parser.add_argument(
        "run",
        nargs="+",
        help="a run's folder, a directory with runs in it, such as ./wandb, or ENTITY/PROJECT/RUN_ID on W&B",
    )
    parser.add_argument("-o", "--output", default="report.html", help="the file to write (default: report.html)")
    parser.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> int:
    import rich.filesize

    from tf_hfwb.reports.report_page import write_report
    from tf_hfwb.run_records.record_lookup import find_runs

    runs = find_runs(arguments.run)
    path = write_report(runs, arguments.output)
    number = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    print(f"{path}: {number}, {rich.filesize.decimal(path.stat().st_size)}. Open it in a browser.")
    return 0
