"""Weights & Biases tracking and a Trainer for Hugging Face models in TensorFlow and Keras.

Names are loaded when they are first used: importing this package imports neither TensorFlow, Keras, transformers nor
wandb.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from tf_hfwb.secret_masking import SecretFilter

if TYPE_CHECKING:
    from tf_hfwb.callbacks.callback_list import wandb_callbacks
    from tf_hfwb.callbacks.compute_metrics import ComputeMetrics
    from tf_hfwb.callbacks.early_stopping import EarlyStopping
    from tf_hfwb.callbacks.eval_callback import WandbEvalCallback
    from tf_hfwb.callbacks.eval_table import WandbEvalTable
    from tf_hfwb.callbacks.metrics_logger import WandbMetricsLogger
    from tf_hfwb.callbacks.model_checkpoint import WandbModelCheckpoint
    from tf_hfwb.callbacks.tensorboard_logger import TensorBoardLogger
    from tf_hfwb.callbacks.trackio_logger import TrackioLogger
    from tf_hfwb.callbacks.weight_watch import WandbWatch
    from tf_hfwb.data import training_batches
    from tf_hfwb.evaluation.text_generation import Generator
    from tf_hfwb.models.pretrained import from_pretrained
    from tf_hfwb.resume.load_model import load_model
    from tf_hfwb.resume.restore import restore
    from tf_hfwb.serving.export import export_for_serving
    from tf_hfwb.tracking.registry import link_to_registry
    from tf_hfwb.trainer.arguments.training_arguments import TFSeq2SeqTrainingArguments, TFTrainingArguments
    from tf_hfwb.trainer.tf_trainer import TFSeq2SeqTrainer, TFTrainer

__version__ = "0.1.0"

logging.getLogger("tf_hfwb").addFilter(SecretFilter())

_HOMES = {
    "ComputeMetrics": "tf_hfwb.callbacks.compute_metrics",
    "EarlyStopping": "tf_hfwb.callbacks.early_stopping",
    "Generator": "tf_hfwb.evaluation.text_generation",
    "TFSeq2SeqTrainer": "tf_hfwb.trainer.tf_trainer",
    "TFSeq2SeqTrainingArguments": "tf_hfwb.trainer.arguments.training_arguments",
    "TFTrainer": "tf_hfwb.trainer.tf_trainer",
    "TFTrainingArguments": "tf_hfwb.trainer.arguments.training_arguments",
    "TensorBoardLogger": "tf_hfwb.callbacks.tensorboard_logger",
    "TrackioLogger": "tf_hfwb.callbacks.trackio_logger",
    "WandbEvalCallback": "tf_hfwb.callbacks.eval_callback",
    "WandbEvalTable": "tf_hfwb.callbacks.eval_table",
    "WandbMetricsLogger": "tf_hfwb.callbacks.metrics_logger",
    "WandbModelCheckpoint": "tf_hfwb.callbacks.model_checkpoint",
    "WandbWatch": "tf_hfwb.callbacks.weight_watch",
    "export_for_serving": "tf_hfwb.serving.export",
    "from_pretrained": "tf_hfwb.models.pretrained",
    "link_to_registry": "tf_hfwb.tracking.registry",
    "load_model": "tf_hfwb.resume.load_model",
    "restore": "tf_hfwb.resume.restore",
    "training_batches": "tf_hfwb.data",
    "wandb_callbacks": "tf_hfwb.callbacks.callback_list",
}

__all__ = [
    "ComputeMetrics",
    "EarlyStopping",
    "Generator",
    "TFSeq2SeqTrainer",
    "TFSeq2SeqTrainingArguments",
    "TFTrainer",
    "TFTrainingArguments",
    "TensorBoardLogger",
    "TrackioLogger",
    "WandbEvalCallback",
    "WandbEvalTable",
    "WandbMetricsLogger",
    "WandbModelCheckpoint",
    "WandbWatch",
    "export_for_serving",
    "from_pretrained",
    "link_to_registry",
    "load_model",
    "restore",
    "training_batches",
    "wandb_callbacks",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its names are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
