"""A transformers TF model written as a directory in PyTorch's format, for transformers 5 and other tools.

transformers 4.57 writes TensorFlow's names and layouts into safetensors, and needs PyTorch to convert them. The weights
are the same in both formats, but their names differ, kernels are transposed, and tied weights are there once.
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
from tf_hfwb.keras_compat.transformers_private import class_names
from tf_hfwb.secret_masking import mask_json
from tf_hfwb.validation.new_directory import new_directory

WEIGHTS = "model.safetensors"

# The names of batch normalisation, which transformers translates from PyTorch to TensorFlow only.
BATCH_STATISTICS = {"moving_mean": "running_mean", "moving_variance": "running_var"}


def save_pytorch_format(model: Any, directory: str | os.PathLike[str], *, processing_class: Any = None) -> pathlib.Path:
    """Write a directory that ``AutoModel...from_pretrained`` of transformers loads into PyTorch.

    All files are first written under a temporary name. A new directory appears whole or not at all. In an existing one,
    they replace files of the same names, weights first and the configuration last.

    Args:
        model: A TF model of transformers, built.
        directory: Created if it does not exist. It must not be a checkpoint, which could not be resumed any more.
        processing_class: The tokenizer or processor, written beside the model.

    Returns:
        The directory.

    Raises:
        SettingError: The model is not of a class of transformers, of which PyTorch has a counterpart; or the directory
            is a file or a checkpoint.

    Example:
        In an environment with PyTorch, ``AutoModel.from_pretrained`` loads what this writes:

        >>> import tempfile
        >>> from transformers import BertConfig, TFBertModel
        >>> model = TFBertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
        >>> model.build_in_name_scope()
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     saved = save_pytorch_format(model, f"{directory}/for-pytorch")
        ...     sorted(path.name for path in saved.iterdir())
        ['config.json', 'model.safetensors']

    Follows ``load_tf2_model_in_pytorch_model`` of transformers.
    """
    architecture = _architecture(model)
    target = pathlib.Path(directory)
    _check_target(target)
    tensors = pytorch_tensors(model)
    from safetensors.numpy import save_file

    # Within an existing directory, as it may be a volume of its own, into which nothing can be renamed.
    place = target if target.exists() else target.parent
    with new_directory(place), tempfile.TemporaryDirectory(prefix=".tmp-", dir=place) as name:
        draft = pathlib.Path(name) / "model"  # With the usual permissions, unlike the temporary directory.
        draft.mkdir()
        save_file(tensors, draft / WEIGHTS, metadata={"format": "pt"})
        if processing_class is not None:
            processing_class.save_pretrained(draft)
        # TensorFlow ignores the dtype of a configuration; PyTorch computes in it.
        _save_configuration(model, architecture, str(next(iter(tensors.values())).dtype), draft)
        _publish(draft, target)
    return target


def _save_configuration(model: Any, architecture: str, dtype: str, directory: pathlib.Path) -> None:
    configuration = copy.deepcopy(model.config)
    configuration.architectures = [architecture]
    configuration.dtype = dtype
    configuration.save_pretrained(directory)
    mask_json(directory / "config.json")
    if model.can_generate():
        # Not its save_pretrained, which refuses what generate takes, such as a temperature without do_sample.
        model.generation_config.to_json_file(directory / "generation_config.json")


def _publish(draft: pathlib.Path, target: pathlib.Path) -> None:
    if not target.exists():
        draft.rename(target)
        return
    for file in sorted(draft.iterdir(), key=lambda path: (path.name == "config.json", path.name != WEIGHTS)):
        file.replace(target / file.name)


def pytorch_tensors(model: Any) -> dict[str, np.ndarray]:
    """The weights by their names in PyTorch, in its layout."""
    from transformers.modeling_tf_pytorch_utils import apply_transpose, convert_tf_weight_name_to_pt_weight_name

    # In PyTorch the weights of a model without a head have no prefix, in TensorFlow they have one.
    prefix = f"{model.base_model_prefix}." if _has_no_head(model) else ""
    tensors: dict[str, np.ndarray] = {}
    for weight in [*model.trainable_weights, *model.non_trainable_weights]:
        # If another model called this one first, the weights have that model's name in front of its own.
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
            array = array[0]  # The bias of TensorFlow's GPT-2 Conv1D has one axis more.
        tensors[name] = np.ascontiguousarray(array)
    return tensors


def _has_no_head(model: Any) -> bool:
    return type(model).__name__ in class_names("MODEL") | class_names("MODEL_FOR_TEXT_ENCODING")


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
