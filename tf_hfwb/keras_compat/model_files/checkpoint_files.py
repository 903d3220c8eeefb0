"""What the files of every kind of model can do."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from tf_hfwb.checkpoint.store import Checkpoint, Draft

Arrays = dict[str, np.ndarray]


class ModelFiles(Protocol):
    """A model in the directory of a checkpoint, without its optimizer.

    Attributes:
        variables: Each weight that the files hold, by its name there.
        digests: Digests of what the model's layers have learned outside weights.
    """

    variables: dict[str, Any]
    digests: dict[str, str]

    def compute_values(self) -> Arrays:
        """What layers compute at a save, by its name in the files; on the training thread."""

    def write(self, draft: Draft, values: Arrays, previous: Checkpoint | None) -> None:
        """Write the model.

        Args:
            draft: Where to.
            values: Each of ``variables`` by its name, and what :meth:`compute_values` gave.
            previous: An earlier checkpoint, whose files may be linked.
        """

    def read(self, checkpoint: Checkpoint) -> Arrays:
        """Each of ``variables`` by its name, without what layers of this model compute.

        Raises:
            CorruptCheckpointError: A file is missing, cannot be read, or holds something else.
        """
