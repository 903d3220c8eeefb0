"""Write a TensorFlow model as PyTorch's transformers would: the same names, layouts and files. Needs no PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from transformers.modeling_tf_pytorch_utils import apply_transpose, convert_tf_weight_name_to_pt_weight_name

PYTORCH_METADATA = {"format": "pt"}


def pytorch_tensors(model) -> dict[str, np.ndarray]:
    """The weights by their PyTorch names, in PyTorch's layout."""
    is_headless = type(model).__name__.endswith("Model") and "LMHead" not in type(model).__name__
    prefix = model.base_model_prefix + "." if is_headless else ""
    tensors = {}
    for weight in model.trainable_weights + model.non_trainable_weights:
        name, transpose = convert_tf_weight_name_to_pt_weight_name(weight.name, prefix, weight.shape)
        if hasattr(model, "tf_to_pt_weight_rename"):
            name = model.tf_to_pt_weight_rename(name)[0]
        array = apply_transpose(transpose, weight.numpy(), None, pt_to_tf=False)
        if name.endswith(".bias") and array.ndim == 2:
            array = array[0]  # The bias of TensorFlow's GPT-2 Conv1D has an axis more.
        tensors[name] = np.ascontiguousarray(array)
    return tensors


def write_safetensors(tensors, directory, *, shards=1, metadata=PYTORCH_METADATA) -> None:
    """Write model.safetensors or, for more shards than one, the shards and their index."""
    directory = Path(directory)
    if shards == 1:
        save_file(tensors, directory / "model.safetensors", metadata=metadata)
        return
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        names = list(tensors)[number::shards]
        save_file({name: tensors[name] for name in names}, directory / file, metadata=metadata)
        weight_map.update(dict.fromkeys(names, file))
    index = {"metadata": {"total_size": sum(array.nbytes for array in tensors.values())}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def save_pytorch_format(model, directory, *, shards=1, metadata=PYTORCH_METADATA, dtype=None) -> None:
    """Write a directory that AutoModel.from_pretrained would load: configurations and weights."""
    model.config.architectures = [type(model).__name__.removeprefix("TF")]
    model.config.save_pretrained(directory)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(directory)
    tensors = pytorch_tensors(model)
    if dtype is not None:
        tensors = {name: array.astype(dtype) for name, array in tensors.items()}
    write_safetensors(tensors, directory, shards=shards, metadata=metadata)
