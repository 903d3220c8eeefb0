"""Callbacks of transformers' ``Trainer`` in a user's list: which events they override, and which cannot work."""

from __future__ import annotations

import importlib.util
import sys
import weakref
from collections.abc import Collection, Sequence
from typing import Any

from tf_hfwb.errors import SettingError

STEP_EVENTS = ("on_step_begin", "on_optimizer_step", "on_substep_end", "on_step_end")
EVENTS = frozenset(
    [
        *("on_init_end", "on_train_begin", "on_epoch_begin", *STEP_EVENTS, "on_log", "on_evaluate", "on_predict"),
        *("on_save", "on_prediction_step", "on_epoch_end", "on_train_end"),
    ]
)

_INTEGRATIONS = "transformers.integrations.integration_utils"

# What W&B's own callback of transformers does, and the trainer does instead.
_LOGGING = ("setup", "on_train_begin", "on_train_end", "on_log", "on_save", "on_predict")


def is_trainer_callback(callback: Any) -> bool:
    """Whether it is one of transformers' ``Trainer``."""
    from transformers.trainer_callback import TrainerCallback

    return isinstance(callback, TrainerCallback)


def events_of(callback: Any) -> Collection[str]:
    """The events that are called for a callback: those that it overrides.

    What ``DefaultFlowCallback`` and ``WandbCallback`` do the trainer does itself, so of classes derived from these only
    what they add is called.
    """
    kind = type(callback)
    if kind not in _events:
        _events[kind] = _events_of_class(kind)
    return _events[kind]


_events: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()


def _events_of_class(kind: type) -> frozenset[str]:
    from transformers.trainer_callback import DefaultFlowCallback, TrainerCallback

    replaced = (DefaultFlowCallback, *_wandb_callback())
    base = next((one for one in replaced if issubclass(kind, one)), TrainerCallback)
    names = [name for name in dir(TrainerCallback) if name.startswith("on_")]
    return frozenset(name for name in names if getattr(kind, name) is not getattr(base, name))


def make_callback(callback: Any) -> Any:
    """The callback, made of its class where the class was given, as the ``Trainer`` does.

    Raises:
        SettingError: The class cannot be made without arguments.
    """
    if not isinstance(callback, type):
        return callback
    try:
        return callback()
    except TypeError as error:
        raise SettingError(
            "callbacks",
            callback.__name__,
            expected=f"an object, as the class cannot be made without arguments ({error})",
            advice=f"Write {callback.__name__}(...).",
        ) from error


def check_events(callbacks: Sequence[Any], report_to: Collection[str]) -> None:
    """Refuse callbacks of which something would be ignored.

    Args:
        callbacks: Callbacks of transformers.
        report_to: Where the trainer reports.

    Raises:
        SettingError: One of them cannot work.
    """
    for callback in callbacks:
        for refuse in (_refuse_wandb, _refuse_tensorboard, _refuse_events):
            refuse(callback, report_to)


def _refuse_wandb(callback: Any, report_to: Collection[str]) -> None:
    kind = type(callback)
    base = next((one for one in _wandb_callback() if issubclass(kind, one)), None)
    if base is None:
        return
    name = kind.__name__
    if kind is base:
        raise SettingError(
            "callbacks",
            name,
            expected="no WandbCallback: the trainer logs to W&B itself, by report_to='wandb'",
            advice="Take it out of the list.",
        )
    own = [method for method in _LOGGING if getattr(kind, method) is not getattr(base, method)]
    if own:
        raise SettingError(
            "callbacks",
            name,
            expected=f"no {', '.join(own)} in a class derived from WandbCallback: the trainer logs to W&B itself, and "
            "each row would be there twice",
            advice="Derive the class from transformers.TrainerCallback and call wandb.log.",
        )
    if "wandb" not in report_to:
        raise SettingError(
            "callbacks",
            name,
            expected="no class derived from WandbCallback without report_to='wandb': it logs to the trainer's run",
            advice="Set report_to='wandb', or derive the class from transformers.TrainerCallback.",
        )


def _refuse_tensorboard(callback: Any, report_to: Collection[str]) -> None:
    if not issubclass(type(callback), _tensorboard_callback()):
        return
    if type(callback) in _tensorboard_callback() and "tensorboard" in report_to:
        raise SettingError(
            "callbacks",
            type(callback).__name__,
            expected="no TensorBoardCallback beside report_to='tensorboard': each row would be there twice",
            advice="Take it out of the list, or take 'tensorboard' out of report_to.",
        )
    if callback.tb_writer is not None:
        return
    if not any(map(importlib.util.find_spec, ("torch", "tensorboardX"))):
        raise SettingError(
            "callbacks",
            type(callback).__name__,
            expected="a writer for it, as neither torch nor tensorboardX is installed: it would write nothing",
            advice="Set report_to='tensorboard', which needs none of them, or pass TensorBoardCallback(tb_writer=...).",
        )


def _refuse_events(callback: Any, report_to: Collection[str]) -> None:
    unknown = sorted(set(events_of(callback)) - EVENTS)
    if not unknown:
        return
    expected = f"no {', '.join(unknown)} in a callback: nothing calls it here"
    advice = "Leave it out."
    if "on_pre_optimizer_step" in unknown:
        expected += ", as Keras computes the gradients and the update in one compiled function"
        advice = "Use WandbWatch for gradients, and on_optimizer_step or on_step_end for what follows the update."
    raise SettingError("callbacks", type(callback).__name__, expected=expected, advice=advice)


def _wandb_callback() -> tuple[type, ...]:
    """The class, if its module has been imported: else no callback is one of it."""
    if _INTEGRATIONS not in sys.modules:
        return ()
    from transformers.integrations.integration_utils import WandbCallback

    return (WandbCallback,)


def _tensorboard_callback() -> tuple[type, ...]:
    """Likewise."""
    if _INTEGRATIONS not in sys.modules:
        return ()
    from transformers.integrations.integration_utils import TensorBoardCallback

    return (TensorBoardCallback,)
