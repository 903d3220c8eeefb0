"""A Keras 3 model of a LoRA training, for use: its base and its adapters put together."""

from __future__ import annotations

import pathlib
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.errors import CorruptCheckpointError
from tf_hfwb.keras_compat.model_files.checkpoint_files import Arrays
from tf_hfwb.keras_compat.model_files.keras_layout import layers_by_group
from tf_hfwb.keras_compat.model_files.keras_weights import as_h5
from tf_hfwb.keras_compat.model_files.lora_description import ADAPTERS, BASE, Adapter, LoRADescription
from tf_hfwb.keras_compat.safe_loading.keras_loading import load_archive

_TEXTS = ("config.json", "metadata.json")


def load_lora(checkpoint: Checkpoint, base: Checkpoint, **options: Any) -> Any:
    """Load a model with its kernels merged; adapters of quantized kernels stay apart, as merging would round them.

    Args:
        checkpoint: The checkpoint, verified.
        base: Its base, verified.
        **options: Those of :func:`.load_archive`.

    Raises:
        CorruptCheckpointError: They do not go together, or are not what a save writes.
        UnsafeModelError: See :func:`.load_archive`.
        WeightsError: See :func:`.load_archive`.
    """
    adapters = LoRADescription.read(checkpoint).adapters
    values = base.read_tensors(BASE) | checkpoint.read_tensors(ADAPTERS)
    _check_complete(checkpoint, adapters, values)
    merged = {adapter.kernel: _merged(adapter, values) for adapter in adapters if adapter.kernel is not None}
    placed = {name: value for name, value in {**values, **merged}.items() if not name.startswith("weights/")}
    with tempfile.TemporaryDirectory() as name:
        archive = pathlib.Path(name, "model.keras")
        _write_archive(archive, checkpoint, placed)
        model = load_archive(archive, **options)
    _attach(model, [adapter for adapter in adapters if adapter.kernel is None], values, checkpoint)
    return model


def _check_complete(checkpoint: Checkpoint, adapters: Sequence[Adapter], values: Arrays) -> None:
    for adapter in adapters:
        names = [name for name in (adapter.kernel, adapter.a, adapter.b) if name is not None]
        missing = [name for name in names if name not in values]
        a, b = (values.get(name, np.zeros(())) for name in (adapter.a, adapter.b))
        fits = a.ndim > 1 and b.ndim == 2 and a.shape[-1] == b.shape[0] == adapter.rank
        if adapter.kernel is not None and not missing and fits:
            fits = values[adapter.kernel].shape == (*a.shape[:-1], b.shape[-1])
        if missing or not fits:
            found = f"{', '.join(missing)} missing" if missing else "shapes that do not fit each other"
            raise CorruptCheckpointError(
                f"The adapters in {checkpoint.path} and their base do not go together: for {adapter.layer} there is "
                f"{found}. Expected matrices and kernels as a save writes them. Use another checkpoint."
            )


def _merged(adapter: Adapter, values: Arrays) -> np.ndarray:
    """The kernel as the layer computes it, by the same operations."""
    from keras import ops

    kernel = ops.convert_to_tensor(values[str(adapter.kernel)])
    product = ops.matmul(ops.convert_to_tensor(values[adapter.a]), ops.convert_to_tensor(values[adapter.b]))
    sum = ops.add(kernel, (adapter.alpha / adapter.rank) * product)
    return ops.convert_to_numpy(ops.cast(sum, kernel.dtype))


def _write_archive(path: pathlib.Path, checkpoint: Checkpoint, values: Arrays) -> None:
    texts = [name for name in checkpoint.files if name in _TEXTS or name.startswith("assets/")]
    with zipfile.ZipFile(path, "w") as archive:
        for name in texts:
            with checkpoint.open_file(name) as file:
                archive.writestr(name, file.readall())
        with archive.open("model.weights.h5", "w", force_zip64=True) as entry:
            entry.write(as_h5(values))


def _attach(model: Any, adapters: Sequence[Adapter], values: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Give quantized layers their adapters; those of KerasHub's models come without, as no configuration names them."""
    layers = layers_by_group(model) if adapters else {}
    for adapter in adapters:
        layer: Any = layers.get(adapter.layer)
        if not hasattr(layer, "enable_lora"):
            raise CorruptCheckpointError(
                f"{checkpoint.path} has an adapter of {adapter.layer}, where the model that its config.json describes "
                f"has {type(layer).__name__}. Expected a layer with enable_lora. Use another checkpoint."
            )
        if not layer.lora_enabled:
            layer.enable_lora(adapter.rank, lora_alpha=adapter.alpha)
        kind = "kernel" if hasattr(layer, "lora_kernel_a") else "embeddings"
        getattr(layer, f"lora_{kind}_a").assign(values[adapter.a])
        getattr(layer, f"lora_{kind}_b").assign(values[adapter.b])
