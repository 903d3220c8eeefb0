"""Smaller batches for a training whose first step does not fit into the memory."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.data.tf_data import is_tf_data
from tf_hfwb.keras_compat import Host
from tf_hfwb.resume.trainer_state import TrainerState
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments

_logger = logging.getLogger("tf_hfwb")
_Result = TypeVar("_Result")


class BatchSizeSearch:
    """Halves the batch size of a training until its first step fits, if the arguments ask for that.

    A training that has made a step is not begun anew: its rows and checkpoints are there already.

    Args:
        args: The arguments. Those of the training that fits have its batch size.
        find_host: The model of the training that is under way.
        data: What it trains on. The batches of a ``tf.data.Dataset`` are as they are.

    Follows ``auto_find_batch_size`` of transformers.
    """

    def __init__(self, args: TFTrainingArguments, find_host: Callable[[], Host], data: Any) -> None:
        self._args = args
        self._find_host = find_host
        self._can_halve = args.auto_find_batch_size and not is_tf_data(data)
        self._before: list[tuple[Any, np.ndarray]] = []  # Variables, with their values before the first step.

    def run(self, train: Callable[[], _Result]) -> _Result:
        """Train with batches as large as the arguments say, and with smaller ones where these do not fit."""
        while True:
            try:
                return train()
            except Exception as error:
                if not self.goes_on_after(error):
                    raise
                size = self._args.per_device_train_batch_size
                self._args.per_device_train_batch_size = size // 2
                _logger.warning(
                    "The memory does not suffice for per_device_train_batch_size=%d (%s). Training begins anew with "
                    "%d, because auto_find_batch_size=True.",
                    size,
                    type(error).__name__,
                    size // 2,
                )
            self._take_back()

    def begin(self, *, has_new_optimizer: bool) -> None:
        """Remember the model as it is before its first step: one that fails may have changed some of its weights.

        Args:
            has_new_optimizer: Whether the next training gets another optimizer.
        """
        if self._can_halve:
            host = self._find_host()
            variables = list(host.weights)
            if not has_new_optimizer:
                variables += host.optimizer_variables().values()
            self._before = [(variable, np.array(np.asarray(variable))) for variable in variables]

    def _take_back(self) -> None:
        """Undo what the failed step has done."""
        with self._find_host().scope():
            for variable, value in self._before:
                variable.assign(value)
        gc.collect()

    def goes_on_after(self, error: BaseException) -> bool:
        """Whether a training that an exception has ended is begun anew with smaller batches."""
        if not self._can_halve or not _is_out_of_memory(error):
            return False
        return self._args.per_device_train_batch_size > 1 and not self._find_host().record_steps().has_run


def take_found_batch_size(args: TFTrainingArguments, checkpoint: Checkpoint) -> None:
    """Begin with the batch size that the interrupted training had found, as its position is counted in such batches."""
    size = TrainerState.read(checkpoint).arguments.get("per_device_train_batch_size")
    if args.auto_find_batch_size and isinstance(size, int) and size >= 1:
        args.per_device_train_batch_size = size


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether TensorFlow, JAX or PyTorch says so."""
    tensorflow, torch = sys.modules.get("tensorflow"), sys.modules.get("torch")
    if tensorflow is not None and isinstance(error, tensorflow.errors.ResourceExhaustedError):
        return True
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return str(error).startswith("RESOURCE_EXHAUSTED")
