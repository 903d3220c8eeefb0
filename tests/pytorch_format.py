"""Write a TensorFlow model as PyTorch's transformers would: the same names, layouts and files. Needs no PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.numpy import save_file

from tf_hfwb.models.pytorch_format import pytorch_tensors

PYTORCH_METADATA = {"format": "pt"}


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
