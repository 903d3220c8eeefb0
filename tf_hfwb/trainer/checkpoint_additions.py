"""The callback that lets an overridden ``save_model`` write into each checkpoint."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from tf_hfwb.fit.added_files import AddedFiles
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.fit_callback import FitCallback
from tf_hfwb.keras_compat import Logs


class CheckpointFiles(FitCallback):
    """Adds files to the checkpoints of a fit.

    Args:
        write: Writes them into a directory.
    """

    place = CallbackPlace.OTHERS

    def __init__(self, write: Callable[[pathlib.Path], None]) -> None:
        super().__init__()
        self._files = AddedFiles(write)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Have it called at each save."""
        self._find_session().added_files = self._files
