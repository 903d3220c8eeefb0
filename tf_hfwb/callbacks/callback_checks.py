"""The user's list of callbacks: whether each of them can be one here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tf_hfwb.callbacks.metrics_logger import WandbMetricsLogger
from tf_hfwb.callbacks.model_checkpoint import WandbModelCheckpoint
from tf_hfwb.callbacks.tensorboard_logger import TensorBoardLogger
from tf_hfwb.callbacks.trackio_logger import TrackioLogger
from tf_hfwb.callbacks.weight_watch import WandbWatch
from tf_hfwb.errors import SettingError


def check_callbacks(callbacks: Any) -> list[Any]:
    """The user's callbacks, if each of them can be one.

    Raises:
        SettingError: It is no list, one in it is no callback, or two are there of which there can be one.
    """
    if isinstance(callbacks, (str, type)) or not isinstance(callbacks, Iterable):
        raise SettingError("callbacks", callbacks, expected="a list of callbacks", advice="Put it into [...].")
    chosen = list(callbacks)
    names = [getattr(one, "__name__", type(one).__name__) for one in chosen]
    for one, name in zip(chosen, names, strict=True):
        bases = type(one).__mro__
        if isinstance(one, type):
            expected, advice = "an object, not its class", f"Write {name}(...)."
        elif any(base.__name__ == "TrainerCallback" and base.__module__.startswith("transformers.") for base in bases):
            expected = f"Keras callbacks; {name} is one of transformers' Trainer, and fit does not know its events"
            advice = "Pass it to TFTrainer(callbacks=[...]), or write it as a Keras callback."
        elif not hasattr(one, "set_model"):
            expected, advice = f"callbacks, not {one!r}", "Take it out of the list."
        elif _is_of_wandb(one):
            expected = f"no {name} of W&B's beside that of tf_hfwb: both would log to one run, on two clocks"
            advice = "Take it out of the list; WandbMetricsLogger of tf_hfwb is made for you."
        else:
            continue
        raise SettingError("callbacks", names, expected=expected, advice=advice)
    for kind in (WandbMetricsLogger, TensorBoardLogger, TrackioLogger, WandbWatch, WandbModelCheckpoint):
        if sum(isinstance(callback, kind) for callback in chosen) > 1:
            raise SettingError("callbacks", names, expected=f"one {kind.__name__}")
    return chosen


def has(callbacks: Sequence[Any], kind: type) -> bool:
    """Whether a callback of that class is among them."""
    return any(isinstance(callback, kind) for callback in callbacks)


def _is_of_wandb(callback: Any) -> bool:
    """Whether it logs metrics and is W&B's own."""
    names = ("WandbMetricsLogger", "WandbCallback")
    return any(base.__module__.startswith("wandb.") and base.__name__ in names for base in type(callback).__mro__)
