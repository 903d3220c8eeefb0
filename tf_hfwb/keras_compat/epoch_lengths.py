"""Epochs of different lengths, as with a ``tf.data.Dataset`` that filters or whose source varies."""

from __future__ import annotations

import sys
from typing import Any

from tf_hfwb.keras_compat import keras3_private, tf_keras_private
from tf_hfwb.keras_compat.fit_arguments import fit_arguments


def forget_epoch_length(model: Any) -> None:
    """Let the epoch that begins be as long as its data.

    Both Kerases assume that all epochs have as many batches as the first: a shorter epoch ends the fit in tf_keras, and
    a longer one is cut. Call this when an epoch begins, on the training thread.
    """
    loop = fit_arguments(model)
    if "data_handler" in loop:  # tf_keras
        tf_keras_private.forget_number_of_batches(loop["data_handler"])
    if "epoch_iterator" in loop:  # Keras 3
        keras3_private.forget_number_of_batches(loop["epoch_iterator"])


def is_end_of_data(error: BaseException) -> bool:
    """Whether a train function has raised this because the data has ended; both Kerases catch it."""
    if isinstance(error, StopIteration):
        return True
    tensorflow = sys.modules.get("tensorflow")  # Who has raised an error of it has imported it.
    return tensorflow is not None and isinstance(error, tensorflow.errors.OutOfRangeError)
