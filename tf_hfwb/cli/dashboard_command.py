"""``tf-hfwb show --tensorboard RUN...`` and ``--trackio RUN...``: runs of W&B in another dashboard on this machine."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tf_hfwb.cli.run_choice import choose_run
from tf_hfwb.cli.terminal_text import plain_text
from tf_hfwb.secret_masking import mask_text

if TYPE_CHECKING:
    from tf_hfwb.run_records.run_conversion import Conversion
    from tf_hfwb.run_records.run_record import RunRecord


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

    Returns:
        The exit status: 1 if a run could not be converted.

    Raises:
        SettingError: There is no run at a place, or the dashboard's package is not installed.
    """
    from tf_hfwb.dashboards.installed_dashboards import check_installed
    from tf_hfwb.errors import SettingError
    from tf_hfwb.run_records.record_lookup import find_runs

    if (arguments.tensorboard is None) == (arguments.trackio is None):
        raise SettingError(
            "show", "--convert-only", expected="one of --tensorboard and --trackio", advice="Name one of them."
        )
    name = "trackio" if arguments.tensorboard is None else "tensorboard"
    check_installed(name, "show")
    directory = arguments.convert_only
    if directory is not None and os.path.isdir(directory) and os.listdir(directory):
        raise SettingError("--convert-only", directory, expected="a new or an empty directory", advice="Name another.")
    sources = getattr(arguments, name) or ([] if arguments.run is None else [arguments.run])
    runs = find_runs(sources) if sources else [choose_run(None)]
    convert, serve = _TRACKIO if name == "trackio" else _TENSORBOARD
    if directory is not None:
        return _status(convert(runs, directory)[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # What was converted does not stay behind.
    with tempfile.TemporaryDirectory(prefix="tf-hfwb-") as directory, contextlib.suppress(KeyboardInterrupt):
        place, are_done = convert(runs, directory)
        if any(are_done):
            print(f"{name} is at {serve(place)}. Ctrl-C ends it.", flush=True)
            threading.Event().wait()
    return _status(are_done)


def _status(are_done: Sequence[bool]) -> int:
    return 0 if all(are_done) else 1


def _print_each(conversions: Iterable[Conversion]) -> list[bool]:
    """Say what became of each run.

    Returns:
        Whether it was converted.
    """
    are_done = []
    for conversion in conversions:
        words = plain_text(mask_text(conversion.words))
        if conversion.is_done:
            print(words, flush=True)
        else:
            print(f"error: {words}", file=sys.stderr)
        are_done.append(conversion.is_done)
    return are_done


def _to_tensorboard(runs: Sequence[RunRecord], directory: str) -> tuple[str, list[bool]]:
    from tf_hfwb.dashboards.tensorboard_writer import TensorBoardWriter
    from tf_hfwb.run_records.run_conversion import convert_runs

    conversions = convert_runs(runs, lambda run, name: TensorBoardWriter(os.path.join(directory, name)))
    return directory, _print_each(conversions)


def _to_trackio(runs: Sequence[RunRecord], directory: str) -> tuple[str, list[bool]]:
    os.environ["TRACKIO_DIR"] = os.path.abspath(directory)  # trackio reads it when it is imported.
    from tf_hfwb.dashboards.trackio_writer import TrackioWriter
    from tf_hfwb.run_records.run_conversion import convert_runs

    os.makedirs(directory, exist_ok=True)

    def make_writer(run: RunRecord, name: str) -> TrackioWriter:
        return TrackioWriter(_project(run), name, group=run.group)

    are_done = _print_each(convert_runs(runs, make_writer))
    return _project(runs[-1]), are_done


def _project(run: RunRecord) -> str:
    return run.project or "uncategorized"


def _serve_tensorboard(directory: str) -> str:
    from tf_hfwb.dashboards.dashboard_servers import start_tensorboard

    return start_tensorboard(directory)


def _serve_trackio(project: str) -> str:
    from tf_hfwb.dashboards.dashboard_servers import start_trackio

    return start_trackio(project)


# How runs are converted into a directory, and how the place that that returns, beside whether each is done, is served.
_Ways = tuple[Callable[["Sequence[RunRecord]", str], "tuple[str, list[bool]]"], Callable[[str], str]]
_TENSORBOARD: _Ways = (_to_tensorboard, _serve_tensorboard)
_TRACKIO: _Ways = (_to_trackio, _serve_trackio)
