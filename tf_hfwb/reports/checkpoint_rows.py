"""The checkpoints of a run, wherever they are."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from tf_hfwb.checkpoint.step_names import step_of
from tf_hfwb.errors import NotACheckpointError
from tf_hfwb.reports.page_numbers import short
from tf_hfwb.resume.checkpoint_listing import Listed, checkpoints
from tf_hfwb.run_records.run_record import RunRecord
from tf_hfwb.tracking import artifact_journal
from tf_hfwb.tracking.artifact_names import artifact_name

_MOST_BESIDE = 1000  # Entries of a directory that are looked at.


def checkpoint_rows(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """The checkpoints of all runs, each run's smallest step first."""
    return [
        {
            "run": number,
            "step": one.step,
            "epoch": None if one.epoch is None else short(one.epoch),
            "metrics": {name: short(value) for name, value in one.metrics.items() if isinstance(value, int | float)},
            "size": one.size,
            "aliases": [alias for alias in one.aliases if not alias.startswith(("step-", "epoch-"))],
            "place": one.version or _short_path(one.path or ""),
            "damage": one.damage,
        }
        for number, run in enumerate(runs)
        for one in _find(run)
    ]


def _stores_in(base: str) -> Iterator[str]:
    """The directories right in this one that have checkpoints, as far as their names tell."""
    with os.scandir(base) as entries:
        directories = [entry.path for entry in itertools.islice(entries, _MOST_BESIDE) if entry.is_dir()]
    for directory in sorted(directories):
        with contextlib.suppress(OSError):
            if any(map(step_of, map(pathlib.Path, os.listdir(directory)))):
                yield os.path.realpath(directory)


def _short_path(path: str) -> str:
    """A directory and the one that it is in: where a home directory is, is nobody's business."""
    return "/".join(path.split(os.sep)[-2:])


def _find(run: RunRecord) -> list[Listed]:
    found: dict[str, Listed] = {}
    for source in dict.fromkeys(_sources(run)):
        try:
            listed = checkpoints(source)
        except NotACheckpointError:
            continue
        found |= {one.path or one.version or "": one for one in listed if one.run_id in (run.run_id, None)}
    # A directory may have damaged ones of other runs; with none of this run's, it is somebody else's.
    is_of_run = any(one.run_id == run.run_id for one in found.values())
    return sorted(found.values(), key=lambda one: one.step) if is_of_run else []


def _sources(run: RunRecord) -> Iterator[str]:
    """Directories and artifacts that may have checkpoints of the run."""
    parents = dict.fromkeys(os.path.dirname(os.path.abspath(folder)) for folder in run.folders)
    output_dir = run.config.get("output_dir")
    if isinstance(output_dir, str) and output_dir:
        # The run's folders lie in a folder wandb, below the directory in which the training was started.
        for base in (os.getcwd(), *map(os.path.dirname, parents)):
            directory = os.path.join(base, output_dir)
            if os.path.isdir(directory):
                yield os.path.realpath(directory)
    for parent in parents:  # A plain fit tells no directory: it may lie beside.
        yield from _stores_in(os.path.dirname(parent))
    for parent in parents:
        for entry in artifact_journal.entries(parent):
            if entry.run_id == run.run_id and artifact_journal.is_there(entry):
                yield os.path.realpath(os.path.dirname(entry.path))
    if run.url and run.entity and run.project:
        yield f"{run.entity}/{run.project}/{artifact_name('checkpoint', run.name, run.run_id)}"
