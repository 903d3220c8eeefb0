"""TensorBoard's event files, of one directory for each training."""

from __future__ import annotations

import glob
import itertools
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from tf_hfwb.dashboards import tensorboard_events as events
from tf_hfwb.dashboards.entry_writer import Training
from tf_hfwb.dashboards.log_entries import Configuration, Entry, MachineUse, Row, TableRows, Totals
from tf_hfwb.errors import SettingError

_NUMBERS = itertools.count()  # Two files of a process may begin within a second; readers sort them by name.


class TensorBoardWriter:
    """Writes event files. Each is written as a whole or not at all: a full disk leaves no half of an event.

    A training that begins at step 0 has a directory of its own: where there are events already, it is ``run-2`` (and so
    on) below it. One that is resumed continues in the directory of its checkpoint, where TensorBoard forgets the steps
    that are repeated; elsewhere, the rows before it are written, too.

    Args:
        directory: Where the files go.
        is_given: Whether the user has named it: a resumed training then stays there.

    Raises:
        SettingError: It is on a remote file system.

    Example:
        >>> import os, tempfile
        >>> from tf_hfwb.dashboards.log_entries import Row
        >>> writer = TensorBoardWriter(os.path.join(tempfile.mkdtemp(), "logs"))
        >>> writer.write([Row(step=1, time=0.0, values={"train/loss": 0.5})])
        >>> [name.startswith("events.out.tfevents.") for name in os.listdir(writer.place)]
        [True]
    """

    title = "tensorboard"

    def __init__(self, directory: str | os.PathLike[str], *, is_given: bool = True) -> None:
        name = os.fspath(directory)
        if "://" in name:
            raise SettingError("logging_dir", name, expected="a directory of this machine", advice="Mount it.")
        self._home = self._directory = os.path.expanduser(name)
        self._is_given = is_given
        self._file: BinaryIO | None = None
        self._has_trained = False
        self._config: dict[str, Any] = {}
        self._has_hyperparameters = False  # In the directory, of this process.
        self._last_step = 0

    @property
    def identity(self) -> Mapping[str, str]:
        """The directory."""
        return {"directory": os.path.abspath(self._directory)}

    @property
    def place(self) -> str:
        """The directory."""
        return self._directory

    def begin(self, training: Training) -> None:
        """Choose the directory of a training, and what of it TensorBoard is to forget.

        Raises:
            OSError: No file can be made there.
        """
        before = training.resumed.get("directory", "")
        if not training.step:
            if self._has_trained or (self._file is None and _has_events(self._home)):
                self._move(_next_folder(self._home))
        elif before and not self._is_given and os.path.isdir(before):
            self._move(before)
        self._has_trained = True
        if training.step:
            self._continue(training)

    def _continue(self, training: Training) -> None:
        if _has_events(self._directory):
            self._close_file()  # TensorBoard forgets what stands in files before the one that tells it.
            self._append([events.purge_events(time.time(), training.step + 1)])
        else:
            self._append([events.row_event(row) for row in training.rows])

    def write(self, entries: Sequence[Entry]) -> None:
        """Write entries.

        Raises:
            OSError: There is no room, say.
        """
        records: list[bytes] = []
        config, step = dict(self._config), self._last_step
        for entry in entries:
            if isinstance(entry, Row):
                records.append(events.row_event(entry))
                step = max(step, entry.step)
            elif isinstance(entry, TableRows):
                records.append(events.table_event(entry))
            elif isinstance(entry, Configuration):
                config |= entry.values
            elif isinstance(entry, Totals):
                records.append(events.row_event(Row(step, entry.time, entry.values)))
            else:
                records.append(events.row_event(_machine_row(entry)))
        is_new = config != self._config
        self._append([*(self._configuration_records(config) if is_new else ()), *records])
        self._has_hyperparameters |= is_new
        self._config, self._last_step = config, step

    def _configuration_records(self, config: Mapping[str, Any]) -> list[bytes]:
        now = time.time()
        records = [events.configuration_event(now, config)]
        if not self._has_hyperparameters:  # The page takes the first of a directory.
            records.append(events.hyperparameters_event(now, config, os.path.abspath(self._directory)))
        return records

    def close(self, exit_code: int) -> None:
        """Write how the training has ended."""
        if self._file is not None:
            if self._has_hyperparameters:
                self._append([events.end_event(time.time(), has_failed=exit_code != 0)])
            self._close_file()

    def _move(self, directory: str) -> None:
        self._close_file()
        self._directory = directory
        self._config, self._has_hyperparameters, self._last_step = {}, False, 0

    def _close_file(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _append(self, records: Sequence[bytes]) -> None:
        if not records:
            return
        file = self._file or self._open()
        size = os.fstat(file.fileno()).st_size
        try:
            rest = memoryview(b"".join(records))
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            if self._file is None:
                _remove(file)
            else:
                file.truncate(size)
                file.seek(size)  # Else there would be zeros in between.
            raise
        self._file = file

    def _open(self) -> BinaryIO:
        os.makedirs(self._directory, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{next(_NUMBERS):06d}"
        file = open(os.path.join(self._directory, name), "xb", buffering=0)  # noqa: SIM115 - open until the end
        try:
            file.write(events.version_event(now))
        except OSError:
            _remove(file)
            raise
        return file


def _remove(file: BinaryIO) -> None:
    file.close()
    os.unlink(file.name)


def default_directory(parent: str | os.PathLike[str] = "") -> str:
    """``runs/DATE_HOST`` below a directory, as transformers has it."""
    return os.path.join(parent, "runs", f"{time.strftime('%b%d_%H-%M-%S')}_{socket.gethostname()}")


def _has_events(directory: str) -> bool:
    return bool(glob.glob(os.path.join(glob.escape(directory), "events.out.tfevents.*")))


def _next_folder(home: str) -> str:
    """The first of ``run-2``, ``run-3``, ... below a directory that does not exist yet."""
    names = (os.path.join(home, f"run-{number}") for number in itertools.count(2))
    return next(name for name in names if not os.path.exists(name))


def _machine_row(use: MachineUse) -> Row:
    return Row(int(use.seconds), use.time, {f"system/{name}": value for name, value in use.values.items()})
