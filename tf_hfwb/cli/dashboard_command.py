"""``tf-hfwb show --tensorboard RUN...`` and ``--trackio RUN...``: runs of W&B in another dashboard on this machine."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any

_DEFAULT_RUN = os.path.join("wandb", "latest-run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``show`` that open another dashboard.

    Args:
        parser: That of ``show``.
    """
    options: dict[str, Any] = {"nargs": "*", "metavar": "RUN"}
    parser.add_argument("--tensorboard", help="show runs of W&B in TensorBoard", **options)
    parser.add_argument("--trackio", help="show runs of W&B in trackio", **options)
    parser.add_argument("--convert-only", metavar="DIR", help="write what the dashboard shows into DIR, and end")


def is_asked_for(arguments: argparse.Namespace) -> bool:
    """Whether another dashboard is to be opened, or something written for one."""
    return any(value is not None for value in (arguments.tensorboard, arguments.trackio, arguments.convert_only))


def show(arguments: argparse.Namespace) -> int:
    """Convert the runs and serve the dashboard until Ctrl-C, on this machine only.

    Raises:
        SettingError: There is no run at a place, or the dashboard's package is not installed.
    """
    from tf_hfwb.dashboards.installed_dashboards import check_installed
    from tf_hfwb.errors import SettingError

    if (arguments.tensorboard is None) == (arguments.trackio is None):
        raise SettingError(
            "show", "--convert-only", expected="one of --tensorboard and --trackio", advice="Name one of them."
        )
    name = "trackio" if arguments.tensorboard is None else "tensorboard"
    check_installed(name, "show")
    sources = getattr(arguments, name) or [arguments.run or _DEFAULT_RUN]
    convert, serve = _TRACKIO if name == "trackio" else _TENSORBOARD
    if arguments.convert_only is not None:
        if os.path.isdir(arguments.convert_only) and os.listdir(arguments.convert_only):
            raise SettingError(
                "--convert-only", arguments.convert_only, expected="a new or an empty directory", advice="Name another."
            )
        convert(sources, arguments.convert_only)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # What was converted does not stay behind.
    with tempfile.TemporaryDirectory(prefix="tf-hfwb-") as directory, contextlib.suppress(KeyboardInterrupt):
        print(f"{name} is at {serve(convert(sources, directory))}. Ctrl-C ends it.", flush=True)
        threading.Event().wait()
    return 0


def _to_tensorboard(sources: Sequence[str], directory: str) -> str:
    from tf_hfwb.dashboards.tensorboard_writer import TensorBoardWriter
    from tf_hfwb.run_records.run_conversion import convert_runs

    for line in convert_runs(sources, lambda run, name: TensorBoardWriter(os.path.join(directory, name))):
        print(line)
    return directory


def _to_trackio(sources: Sequence[str], directory: str) -> str:
    os.environ["TRACKIO_DIR"] = os.path.abspath(directory)  # trackio reads it when it is imported.
    from tf_hfwb.dashboards.trackio_writer import TrackioWriter
    from tf_hfwb.run_records.run_conversion import convert_runs

    os.makedirs(directory, exist_ok=True)
    projects: list[str] = []

    def make_writer(run: Any, name: str) -> TrackioWriter:
        projects.append(run.project or "uncategorized")
        return TrackioWriter(projects[-1], name, group=run.group)

    for line in convert_runs(sources, make_writer):
        print(line)
    return projects[-1]


def _serve_tensorboard(directory: str) -> str:
    from tf_hfwb.dashboards.dashboard_servers import start_tensorboard

    return start_tensorboard(directory)


def _serve_trackio(project: str) -> str:
    from tf_hfwb.dashboards.dashboard_servers import start_trackio

    return start_trackio(project)


# How runs are converted, from their places and a directory, and how what that returns is served.
_Ways = tuple[Callable[[Sequence[str], str], str], Callable[[str], str]]
_TENSORBOARD: _Ways = (_to_tensorboard, _serve_tensorboard)
_TRACKIO: _Ways = (_to_trackio, _serve_trackio)
