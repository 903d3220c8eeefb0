"""A transformers TF model as a directory of PyTorch's format, for transformers 5 and everything that reads it.

transformers 4.57 writes TensorFlow's names and layouts into its safetensors, and its way to PyTorch needs PyTorch. The
weights are the same: their names have another scheme, kernels are transposed, and what PyTorch ties is there once.
"""

from __future__ import annotations

import copy
import os
import pathlib
import tempfile
from typing import Any

import numpy as np

from tf_hfwb.checkpoint.manifest import MANIFEST
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import is_of_own_class
from tf_hfwb.masking import mask_json
from tf_hfwb.validation.new_directory import made

WEIGHTS = "model.safetensors"

# Batch normalisation's names, which transformers translates on the way from PyTorch only.
BATCH_STATISTICS = {"moving_mean": "running_mean", "moving_variance": "running_var"}


def save_pytorch_format(model: Any, directory: str | os.PathLike[str], *, processing_class: Any = None) -> pathlib.Path:
    """Write a directory that ``AutoModel...from_pretrained`` of transformers loads into PyTorch.

    The files are written aside. When all of them are there, they become the directory; in one that was there they
    replace what they must, weights first and the configuration last, and files of other names stay.

    Args:
        model: A TF model of transformers, built.
        directory: Made if it is not there. Not a checkpoint: it could not be resumed from any more.
        processing_class: The tokenizer or processor, written beside the model.

    Returns:
        The directory.

    Raises:
        SettingError: The model is none of transformers' own classes, of which PyTorch has a counterpart; or the
            directory is a file or a checkpoint.

    Example:
        >>> # save_pytorch_format(model, "for-pytorch", processing_class=tokenizer)
        >>> # In another environment: AutoModelForSequenceClassification.from_pretrained("for-pytorch")

    Follows ``load_tf2_model_in_pytorch_model`` of transformers.
    """
    architecture = _architecture(model)
    target = pathlib.Path(directory)
    _check_target(target)
    tensors = pytorch_tensors(model)
    from safetensors.numpy import save_file

    # Inside, if it is there: it may be a volume of its own, into which nothing can be renamed.
    place = target if target.exists() else target.parent
    with made(place), tempfile.TemporaryDirectory(prefix=".tmp-", dir=place) as name:
        aside = pathlib.Path(name) / "model"  # With usual permissions, which the directory around it has not.
        aside.mkdir()
        save_file(tensors, aside / WEIGHTS, metadata={"format": "pt"})
        configuration = copy.deepcopy(model.config)
        configuration.architectures = [architecture]
        # TensorFlow takes no notice of the dtype noted here, PyTorch computes in it.
        configuration.dtype = str(next(iter(tensors.values())).dtype)
        if model.can_generate():
            # Not its save_pretrained, which refuses what generate takes, as a temperature without do_sample.
            model.generation_config.to_json_file(aside / "generation_config.json")
        if processing_class is not None:
            processing_class.save_pretrained(aside)
        configuration.save_pretrained(aside)
        mask_json(aside / "config.json")
        if not target.exists():
            aside.rename(target)
            return target
        files = sorted(aside.iterdir(), key=lambda path: (path.name == "config.json", path.name != WEIGHTS))
        for file in files:
            file.replace(target / file.name)
    return target


def pytorch_tensors(model: Any) -> dict[str, np.ndarray]:
    """The weights by their names in PyTorch, in its layout."""
    from transformers.modeling_tf_pytorch_utils import apply_transpose, convert_tf_weight_name_to_pt_weight_name

    # PyTorch has the weights of a model without a head at the top, TensorFlow below a name.
    prefix = f"{model.base_model_prefix}." if _has_no_head(model) else ""
    tensors: dict[str, np.ndarray] = {}
    for weight in [*model.trainable_weights, *model.non_trainable_weights]:
        # A model that another model called first has that one's name before its own.
        _, own, below = f"/{weight.name}".partition(f"/{model.name}/")
        name, transpose = convert_tf_weight_name_to_pt_weight_name(
            f"{model.name}/{below}" if own else weight.name, prefix, weight.shape
        )
        for mine, its in BATCH_STATISTICS.items():
            name = name.replace(mine, its)
        if hasattr(model, "tf_to_pt_weight_rename"):
            name = model.tf_to_pt_weight_rename(name)[0]
        array = apply_transpose(transpose, weight.numpy(), None, pt_to_tf=False)
        if name.endswith(".bias") and array.ndim == 2:
            array = array[0]  # The bias of TensorFlow's GPT-2 Conv1D has an axis more.
        tensors[name] = np.ascontiguousarray(array)
    return tensors


def _has_no_head(model: Any) -> bool:
    from transformers.models.auto.modeling_tf_auto import (
        TF_MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES,
        TF_MODEL_MAPPING_NAMES,
    )

    groups = [*TF_MODEL_MAPPING_NAMES.values(), *TF_MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.values()]
    return type(model).__name__ in {name for group in groups for name in ([group] if isinstance(group, str) else group)}


def _architecture(model: Any) -> str:
    """The name of the class in PyTorch.

    Raises:
        SettingError: There is none, or the model has no weights yet.
    """
    name = type(model).__name__
    if not is_of_own_class(model):
        raise SettingError(
            "model",
            name,
            expected="one of transformers' own TF classes, of which PyTorch has the counterpart",
            advice="A plain Keras model is saved with model.save(...).",
        )
    if not model.built:
        raise SettingError("model", name, expected="a model that is built", advice="Call it once on a batch.")
    return name.removeprefix("TF")


def _check_target(target: pathlib.Path) -> None:
    if (target / MANIFEST).exists() or (target.exists() and not target.is_dir()):
        raise SettingError(
            "directory",
            str(target),
            expected="a directory for the model alone, neither a file nor a checkpoint",
            advice="Name another one: a checkpoint whose files change cannot be resumed from.",
        )
