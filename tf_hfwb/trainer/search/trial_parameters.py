"""Hyperparameters of a trial as training arguments."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments

_logger = logging.getLogger("tf_hfwb")
_OF_THE_SEARCH = ("output_dir", "run_name")  # Each trial has its own.


@contextlib.contextmanager
def arguments_of_trial(args: TFTrainingArguments, params: Mapping[str, Any], **more: Any) -> Iterator[None]:
    """Give the arguments the values of a trial, and in the end their own.

    Whoever holds the arguments, as a user's ``model_init`` may, sees the values of the trial.

    Args:
        args: The arguments.
        params: The hyperparameters. Those that are no arguments are left to ``model_init``.
        **more: Further values.

    Raises:
        SettingError: A value cannot be used.
    """
    own = dict(vars(args))
    try:
        for name, value in params.items():
            if name in _fields(args):
                setattr(args, name, _cast(name, value, getattr(args, name)))
        for name, value in more.items():
            setattr(args, name, value)
        args.check()
        yield
    finally:
        vars(args).clear()
        vars(args).update(own)


def check_params(args: TFTrainingArguments, params: Any, *, takes_trial: bool) -> None:
    """Refuse hyperparameters that cannot be used.

    Args:
        args: The arguments, with the values that trials begin with.
        params: What ``hp_space`` returned.
        takes_trial: Whether ``model_init`` takes the trial, and so may use what is no argument.

    Raises:
        SettingError: They are no dict, a name would have no effect, or a value cannot be used.
    """
    if not isinstance(params, Mapping):
        raise SettingError(
            "hp_space",
            params,
            expected="a function that returns a dict of hyperparameters by name",
            advice='Write return {"learning_rate": trial.suggest_float(...)}.',
        )
    for name in params:
        if name in _OF_THE_SEARCH:
            raise SettingError("hp_space", name, expected="other hyperparameters: each trial has its own")
        if name not in _fields(args):
            _check_unknown(args, name, takes_trial=takes_trial)
    with arguments_of_trial(args, params):
        pass


def _check_unknown(args: TFTrainingArguments, name: str, *, takes_trial: bool) -> None:
    close = difflib.get_close_matches(name, _fields(args), 1, 0.8)
    meant = f" Is {close[0]!r} meant?" if close else ""
    if not takes_trial:
        raise SettingError(
            "hp_space",
            name,
            expected="names of training arguments, as model_init takes no trial that could use another one",
            advice=f"Correct the name, or write def model_init(trial) and use it there.{meant}",
        )
    _warn_of_unknown(name, meant)


@functools.cache  # Not for each trial.
def _warn_of_unknown(name: str, meant: str) -> None:
    _logger.warning(
        "The hyperparameter %r is no training argument. Expected model_init(trial) to use it.%s", name, meant
    )


def _fields(args: TFTrainingArguments) -> list[str]:
    return [field.name for field in dataclasses.fields(args)]


def _cast(name: str, value: Any, old: Any) -> Any:
    """The value with the type of the old one, as transformers casts it."""
    if old is None or isinstance(value, type(old)):
        return value
    try:
        if isinstance(old, bool) and value not in (0, 1):
            raise TypeError
        return type(old)(value)
    except (TypeError, ValueError):
        raise SettingError(name, value, expected=f"a value like {old!r}", advice="Correct hp_space.") from None
