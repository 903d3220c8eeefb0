"""One run as the W&B server has it, through the client's public API."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.secret_masking import cause
from tf_hfwb.tracking.wandb_server import server_request

_SYSTEM = "system."  # What the server puts in front of the names of a machine's metrics.
_SYSTEM_ROWS = 10_000  # The server thins out what is more.


class ServerRun:
    """A run on the server.

    Args:
        path: ``entity/project/id``.

    Attributes:
        path: The same.

    Raises:
        SettingError: The server has no such run, or does not show it to this user.
        ServerError: The server could not be asked.
    """

    def __init__(self, path: str) -> None:
        import wandb

        self.path = path
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        with server_request(f"Looking on W&B for the run {path!r}, as there is no such folder here,"):
            public = wandb.Api()
            try:
                self._run: Any = public.run(path)
            except (wandb.errors.CommError, ValueError) as error:
                raise SettingError(
                    "run",
                    path,
                    expected="a run that W&B has, as entity/project/id, or a folder that is here",
                    advice=f"{error}. The address of its page has the three; a key is needed, too (wandb login).",
                ) from cause(error)

    def facts(self) -> dict[str, Any]:
        """What the server knows of the run, by the names of its public API."""
        names = ("id", "name", "entity", "project", "group", "job_type", "tags", "notes", "state", "created_at", "url")
        with server_request(f"Reading the run {self.path!r}"):
            known = {name: getattr(self._run, name, None) for name in names}
            return known | {"config": dict(self._run.config), "summary": dict(self._run.summary_metrics)}

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows of its history, in order."""
        with server_request(f"Reading the history of {self.path!r}"):
            # Not from the client's cache on disk, which may hold the history as it was some time ago.
            for row in self._run.scan_history(use_cache=False):
                yield dict(row)

    def system_rows(self) -> Iterator[dict[str, Any]]:
        """How the machine was used; the server thins out long ones."""
        with server_request(f"Reading the system metrics of {self.path!r}"):
            for row in self._run.history(samples=_SYSTEM_ROWS, stream="system", pandas=False):
                yield _without_prefix(row)

    def download(self, name: str) -> str | None:
        """A file of the run on this machine, as long as this object lives; None if the run has no such file.

        Args:
            name: Its name on the server, such as ``media/table/predictions_0_1234.table.json``.
        """
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="tf_hfwb-run-")
        path = os.path.join(self._folder.name, *name.split("/"))
        if not os.path.exists(path):
            with server_request(f"Downloading {name!r} of {self.path!r}"):
                files = [file for file in self._run.files([name]) if file.name == name]
                if not files:
                    return None
                files[0].download(root=self._folder.name, replace=True).close()
        return path


def _without_prefix(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(_SYSTEM): value for name, value in row.items()}
