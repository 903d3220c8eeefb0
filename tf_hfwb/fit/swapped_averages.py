"""Keras's ``SwapEMAWeights``, which exchanges weights and their averages at the end of an epoch, too."""

from __future__ import annotations

import logging
from typing import Any

from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.keras_compat import fit_arguments

_logger = logging.getLogger("tf_hfwb")


def warn_of_swapped_averages(model: Any, save_freq: str | int) -> None:
    """Say it when checkpoints of the running fit would have averages where the weights belong."""
    callbacks = getattr(fit_arguments(model).get("callbacks"), "callbacks", ())
    swaps = [place for place, one in enumerate(callbacks) if _swaps_at_epochs(one)]
    savers = [place for place, one in enumerate(callbacks) if getattr(one, "place", None) is CallbackPlace.SAVING]
    if not swaps or not savers or (swaps[0] > savers[-1] and save_freq == "epoch"):
        return
    where = "behind" if swaps[0] > savers[-1] else "in front of"
    _logger.warning(
        "SwapEMAWeights(swap_on_epoch=True) stands %s WandbModelCheckpoint(save_freq=%r): a checkpoint of an epoch's "
        "last step has the averages in the model and the weights in their place, and a training that goes on from it "
        "is another one. Expected it behind a WandbModelCheckpoint(save_freq='epoch'). Put it there, as in "
        "[*wandb_callbacks(...), SwapEMAWeights(True)], or leave swap_on_epoch out: averages are evaluated without it, "
        "too, and are in the model when fit has ended.",
        where,
        save_freq,
    )


def _swaps_at_epochs(callback: Any) -> bool:
    is_keras = any(
        base.__name__ == "SwapEMAWeights" and base.__module__.startswith("keras.") for base in type(callback).__mro__
    )
    return is_keras and bool(callback.swap_on_epoch)
