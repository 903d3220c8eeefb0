"""The weights of a checkpoint, put into a model that has its variables already."""

from __future__ import annotations

from typing import Any

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.keras_compat import Host, name_variables
from tf_hfwb.resume.state_tensors import Assignments, match_tensors, read_state_tensors, with_prefix


def load_weights(host: Host, checkpoint: Checkpoint) -> None:
    """Put only the weights of a checkpoint into a model.

    Raises:
        StateMismatchError: They do not fit; nothing has been changed then.
        CorruptCheckpointError: A file is missing or cannot be read.
    """
    for variable, value in match_weights(host, checkpoint):
        variable.assign(value)
    host.use_assigned_weights()


def match_weights(host: Host, checkpoint: Checkpoint) -> Assignments:
    """Pair each weight of a model with its value in a checkpoint.

    Raises:
        StateMismatchError: They do not fit.
        CorruptCheckpointError: A file is missing or cannot be read.
    """
    files, where = host.model_files(), str(checkpoint.path)
    pairs = match_tensors(where, "weights", files.variables, files.read(checkpoint))
    unsaved = unsaved_weights(host, files)
    if unsaved:
        pairs += match_tensors(where, "other weights", unsaved, with_prefix(read_state_tensors(checkpoint), "weights/"))
    return pairs


def unsaved_weights(host: Host, files: Any) -> dict[str, Any]:
    """The weights that the model's own files leave out, by their names in a checkpoint.

    Args:
        host: The model.
        files: Its files, of ``Host.model_files``.
    """
    saved = {id(variable) for variable in files.variables.values()}
    return name_variables("weights", [variable for variable in host.weights if id(variable) not in saved])
