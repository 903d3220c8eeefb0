"""The run that a command is about."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tf_hfwb.errors import SettingError

if TYPE_CHECKING:
    from tf_hfwb.run_records.run_record import RunRecord

# For --help.
RUN_HELP = (
    "a run's folder, a directory with run folders in or below it, whose latest run is meant, or entity/project/run_id "
    "for a run on W&B; the latest one below ./wandb by default"
)
_LATEST = os.path.join("wandb", "latest-run")


def choose_run(name: str | None) -> RunRecord:
    """The run that somebody names.

    Args:
        name: See :data:`RUN_HELP`.

    Raises:
        SettingError: There is none.
        ServerError: The server could not be asked.
    """
    from tf_hfwb.run_records.record_lookup import find_runs

    if name is None:
        name = _LATEST if os.path.exists(_LATEST) or not os.path.isdir("wandb") else "wandb"
        if not os.path.exists(name):
            raise SettingError(
                "run",
                name,
                expected="the folder of a run, and there is none",
                advice="Name a run, or call this where the run was started.",
            )
    return find_runs([name])[-1]
