"""The weights of a checkpoint, put into a model that has its variables already."""

from __future__ import annotations

from typing import Any

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.errors import StateMismatchError
from tf_hfwb.keras_compat import LORA, Host, LoRAFiles, ModelFiles, name_variables
from tf_hfwb.resume.lora_base import check_base
from tf_hfwb.resume.state_tensors import Arrays, Assignments, match_tensors, read_state_tensors, with_prefix


def load_weights(host: Host, checkpoint: Checkpoint) -> None:
    """Put only the weights of a checkpoint into a model.

    Raises:
        StateMismatchError: They do not fit; nothing has been changed then.
        CorruptCheckpointError: A file is missing or cannot be read.
    """
    for variable, value in match_weights(host, checkpoint):
        variable.assign(value)
    host.use_assigned_weights()


def match_weights(
    host: Host, checkpoint: Checkpoint, files: ModelFiles | None = None, tensors: Arrays | None = None
) -> Assignments:
    """Pair each weight of a model with its value in a checkpoint; of a model with LoRA without its base.

    Args:
        host: The model.
        checkpoint: The checkpoint.
        files: What :func:`files_of` gave, if it was asked already.
        tensors: Those of the training's state, if they were read already; then none of them may be left over.

    Raises:
        StateMismatchError: They do not fit.
        CorruptCheckpointError: A file is missing or cannot be read.
    """
    files, where = files or files_of(host, checkpoint), str(checkpoint.path)
    pairs = match_tensors(where, "weights", files.variables, files.read(checkpoint))
    if isinstance(files, LoRAFiles):
        check_base(host, files, checkpoint)
        return pairs
    unsaved = unsaved_weights(host, files)
    if unsaved or tensors is not None:
        tensors = read_state_tensors(checkpoint) if tensors is None else tensors
        pairs += match_tensors(where, "other weights", unsaved, with_prefix(tensors, "weights/"))
    return pairs


def files_of(host: Host, checkpoint: Checkpoint) -> ModelFiles:
    """The model's files in the form in which a checkpoint has them.

    Raises:
        StateMismatchError: The checkpoint has adapters alone, and the model is without LoRA.
    """
    if LORA not in checkpoint.files:
        return host.model_files()
    files = host.lora_files()
    if files is None:
        raise StateMismatchError(
            f"{checkpoint.path} has the adapters of a LoRA training, and {type(host.model).__name__} has no layer with "
            "LoRA and a frozen base. Expected the model as it was trained. Call enable_lora, with the same rank and on "
            "the same layers, before restore; to use the model without training it, take load_model."
        )
    return files


def unsaved_weights(host: Host, files: ModelFiles) -> dict[str, Any]:
    """The weights that the model's own files leave out, by their names in a checkpoint.

    Args:
        host: The model.
        files: Its files, of ``Host.model_files``.
    """
    saved = {id(variable) for variable in files.variables.values()}
    return name_variables("weights", [variable for variable in host.weights if id(variable) not in saved])
