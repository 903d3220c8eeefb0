"""The dashboards that ``report_to`` names beside W&B."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from tf_hfwb.dashboards.entry_writer import EntryWriter
from tf_hfwb.dashboards.tensorboard_writer import TensorBoardWriter, default_directory
from tf_hfwb.dashboards.trackio_writer import TrackioWriter
from tf_hfwb.tracking.dashboard_tracker import Dashboards
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments


class _Choice(NamedTuple):
    """What decides where dashboards find a training."""

    report_to: tuple[str, ...]
    logging_dir: str | None
    output_dir: str | None
    project: str
    run_name: str | None
    group: str | None
    space_id: str | None
    is_private: bool | None


class TrainerDashboards:
    """The dashboards of a trainer, which stay the same as long as its arguments name the same places."""

    def __init__(self) -> None:
        self._choice: _Choice | None = None
        self._dashboards = Dashboards()

    def of(self, args: TFTrainingArguments, group: str | None) -> Dashboards:
        """The dashboards that the arguments name.

        Args:
            args: The arguments.
            group: The group of a search's trials; None outside of one, where ``logging_dir`` is not of several runs.
        """
        choice = _Choice(
            tuple(args.report_to or ()),
            args.logging_dir,
            args.output_dir,
            args.project,
            args.run_name,
            group,
            args.trackio_space_id,
            args.hub_private_repo,
        )
        if choice != self._choice:
            self._choice, self._dashboards = choice, Dashboards(_writers(choice))
        return self._dashboards


def _writers(choice: _Choice) -> list[EntryWriter]:
    writers: list[EntryWriter] = []
    if "tensorboard" in choice.report_to:
        directory: Any = choice.logging_dir
        if directory is None:
            directory = default_directory(choice.output_dir or "")
        elif choice.group is not None and choice.run_name:  # Each trial has a directory, as with transformers.
            directory = os.path.join(directory, choice.run_name)
        writers.append(TensorBoardWriter(directory, is_given=choice.logging_dir is not None))
    if "trackio" in choice.report_to:
        writers.append(
            TrackioWriter(
                choice.project,
                choice.run_name,
                group=choice.group,
                space_id=choice.space_id,
                is_private=choice.is_private,
            )
        )
    return writers
