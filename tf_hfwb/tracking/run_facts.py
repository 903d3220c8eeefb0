"""What can be told of the client's run: where it is on disk, how it is found again, how long its end may take."""

from __future__ import annotations

import os
from typing import Any

from tf_hfwb.tracking.run_history import run_folders


class RunFacts:
    """Facts of one run of the client.

    Args:
        run: The run; None for none, of which nothing is known.

    Attributes:
        run: The run.
    """

    def __init__(self, run: Any) -> None:
        self.run = run

    @property
    def directory(self) -> str | None:
        """The run's folder on disk; None if there is none."""
        return None if self.run is None or self.run.disabled else os.path.dirname(self.run.dir)

    @property
    def folders(self) -> list[str]:
        """The folders of the run on this machine, oldest first: one for each time that it was resumed."""
        newest = self.directory
        return [] if newest is None else run_folders(self.run.id, os.path.dirname(newest)) or [newest]

    @property
    def identity(self) -> dict[str, str]:
        """What finds the run again: ``id``, ``project``, ``entity`` and ``name``, as far as they are known."""
        if self.directory is None:
            return {}
        known = {name: getattr(self.run, name) for name in ("id", "project", "entity", "name")}
        return {name: str(value) for name, value in known.items() if value}

    @property
    def url(self) -> str | None:
        """The run's page; None while it is not on a server."""
        return None if self.directory is None or self.is_offline else self.run.url

    @property
    def is_offline(self) -> bool:
        """Whether what is logged stays on this machine until it is synced."""
        return self.run is not None and bool(self.run.offline)

    @property
    def finish_timeout(self) -> float:
        """Seconds that the end may take; 0 for no limit, as a run of the user's may have it."""
        has_settings = self.run is not None and not self.run.disabled
        return float(self.run.settings.finish_timeout) if has_settings else 0.0
