"""Hyperparameters of a trial as training arguments."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
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
        set_arguments(args, params)
        for name, value in more.items():
            setattr(args, name, value)
        args.check()
        yield
    finally:
        vars(args).clear()
        vars(args).update(own)


def set_arguments(args: TFTrainingArguments, params: Mapping[str, Any]) -> None:
    """Give the arguments the values of a trial, cast to the types that they have.

    Args:
        args: The arguments.
        params: The hyperparameters. Those that are no arguments are left to ``model_init``.

    Raises:
        SettingError: A value is of another type.
    """
    for name, value in params.items():
        if name in _fields(args):
            setattr(args, name, _cast(name, value, getattr(args, name)))


def params_of(trial: Any, hp_space: Callable[[Any], Any] | None, *, takes_trial: bool) -> Any:
    """The hyperparameters of a trial that the user has chosen.

    Args:
        trial: A dict of them, or a trial of optuna.
        hp_space: The space of the trainer's last search; None before one, where a trial of optuna has those that were
            suggested already.
        takes_trial: Whether ``model_init`` takes the trial, and so may suggest more.

    Raises:
        SettingError: It is neither, or has none.

    Example:
        >>> params_of({"learning_rate": 0.1}, None, takes_trial=False)
        {'learning_rate': 0.1}
    """
    if isinstance(trial, Mapping):
        params: Any = trial
    elif hp_space is not None and hasattr(trial, "suggest_float"):
        params = hp_space(trial)
    else:
        params = getattr(trial, "params", None)
    if params or (takes_trial and params is not None):
        return params
    raise SettingError(
        "trial",
        trial,
        expected="a dict of hyperparameters, or a trial of optuna that has some",
        advice="Of what hyperparameter_search has found pass best.hyperparameters; let a trial suggest before.",
    )


def check_params(args: TFTrainingArguments, params: Any, *, takes_trial: bool, source: str = "hp_space") -> None:
    """Refuse hyperparameters that cannot be used.

    Args:
        args: The arguments, with the values that trials begin with.
        params: What ``hp_space`` returned.
        takes_trial: Whether ``model_init`` takes the trial, and so may use what is no argument.
        source: What the user is to correct.

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
            raise SettingError(source, name, expected="other hyperparameters: each trial has its own")
        if name not in _fields(args):
            _check_unknown(args, name, takes_trial=takes_trial, source=source)
    with arguments_of_trial(args, params):
        pass


def _check_unknown(args: TFTrainingArguments, name: str, *, takes_trial: bool, source: str) -> None:
    close = difflib.get_close_matches(name, _fields(args), 1, 0.8)
    meant = f" Is {close[0]!r} meant?" if close else ""
    if not takes_trial:
        raise SettingError(
            source,
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
        raise SettingError(
            name, value, expected=f"a value like {old!r}", advice="Correct the hyperparameter."
        ) from None
