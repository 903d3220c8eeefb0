"""Weights & Biases tracking and a Trainer for Hugging Face models in TensorFlow and Keras.

Names are loaded when they are first used: importing this package imports neither TensorFlow, Keras, transformers nor
wandb.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tf_hfwb.callbacks.checkpoint import WandbModelCheckpoint
    from tf_hfwb.callbacks.early_stopping import EarlyStopping
    from tf_hfwb.callbacks.metrics import WandbMetricsLogger
    from tf_hfwb.callbacks.python_metrics import ComputeMetrics
    from tf_hfwb.data import training_batches
    from tf_hfwb.generation import Generator
    from tf_hfwb.pretrained import from_pretrained
    from tf_hfwb.resume import load_model, restore
    from tf_hfwb.serving.export import export_for_serving
    from tf_hfwb.tracking.registry import link_to_registry
    from tf_hfwb.trainer import TFTrainer
    from tf_hfwb.training_args import TFTrainingArguments

__version__ = "0.1.0"

_HOMES = {
    "EarlyStopping": "tf_hfwb.callbacks.early_stopping",
    "ComputeMetrics": "tf_hfwb.callbacks.python_metrics",
    "Generator": "tf_hfwb.generation",
    "WandbMetricsLogger": "tf_hfwb.callbacks.metrics",
    "TFTrainer": "tf_hfwb.trainer",
    "TFTrainingArguments": "tf_hfwb.training_args",
    "WandbModelCheckpoint": "tf_hfwb.callbacks.checkpoint",
    "export_for_serving": "tf_hfwb.serving.export",
    "from_pretrained": "tf_hfwb.pretrained",
    "link_to_registry": "tf_hfwb.tracking.registry",
    "load_model": "tf_hfwb.resume",
    "restore": "tf_hfwb.resume",
    "training_batches": "tf_hfwb.data",
}

__all__ = [
    "EarlyStopping",
    "ComputeMetrics",
    "Generator",
    "TFTrainer",
    "TFTrainingArguments",
    "WandbMetricsLogger",
    "WandbModelCheckpoint",
    "export_for_serving",
    "from_pretrained",
    "link_to_registry",
    "load_model",
    "restore",
    "training_batches",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its names are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
