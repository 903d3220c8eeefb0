"""Hyperparameters of a trial as training arguments."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import logging
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from tf_hfwb.errors import SettingError
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.validation.argument_checks import to_json_value

_logger = logging.getLogger("tf_hfwb")
_OF_THE_SEARCH = ("output_dir", "run_name")  # Each trial has its own.
RETURNED = "hyperparameters"  # The attribute of a trial of optuna that keeps what hp_space has returned.
_EXPECTED: dict[Callable[[Any], Any], str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


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
    """Give the arguments the values of a trial, cast to the types of their fields.

    Args:
        args: The arguments.
        params: The hyperparameters. Those that are no arguments are left to ``model_init``.

    Raises:
        SettingError: A value is of another type.
    """
    declared = _declared_types(type(args))
    for name, value in params.items():
        if name in _fields(args):
            setattr(args, name, _cast(name, value, declared.get(name, ())))


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
        params = found_params(trial, takes_trial=takes_trial) if hasattr(trial, "params") else None
    if params or (takes_trial and params is not None):
        return params
    raise SettingError(
        "trial",
        trial,
        expected="a dict of hyperparameters, or a trial of optuna that has some",
        advice="Of what hyperparameter_search has found pass best.hyperparameters; let a trial suggest before.",
    )


def storable(params: Mapping[str, Any]) -> dict[str, Any]:
    """Those that JSON can write, as plain values; others are for ``model_init`` alone.

    Example:
        >>> storable({"learning_rate": 0.1, "activation": abs})
        {'learning_rate': 0.1}
    """
    found = {}
    for name, value in params.items():
        with contextlib.suppress(SettingError):
            found[name] = to_json_value(name, value)
    return found


def found_params(trial: Any, *, takes_trial: bool) -> dict[str, Any]:
    """The hyperparameters with which a trial of optuna was trained.

    These are what ``hp_space`` returned, which need not be what the trial suggested: it may compute with that, or
    return what is the same for all trials.

    Args:
        trial: The trial. Before it was trained, or of another search, it has what was suggested.
        takes_trial: Whether ``model_init`` takes the trial, and so may use whatever was suggested.
    """
    returned = getattr(trial, "user_attrs", {}).get(RETURNED)
    if returned is None:
        return dict(trial.params)
    return {**trial.params, **returned} if takes_trial else dict(returned)


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


def _declared_types(kind: type) -> dict[str, tuple[Any, ...]]:
    """The types of the fields of arguments; a union as all that it is of."""
    try:
        hints = get_type_hints(kind)
    except Exception:  # A subclass within a function may have names that only that function knows.
        hints = get_type_hints(TFTrainingArguments)
    return {
        name: get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        for name, hint in hints.items()
    }


def _cast(name: str, value: Any, declared: tuple[Any, ...]) -> Any:
    """The value as the field's type, where that is a number, a flag or a text; else ``check`` judges it."""
    kinds = set(declared) - {type(None)}
    kind = next(iter(kinds)) if len(kinds) == 1 else object
    if kind not in _EXPECTED or (value is None and type(None) in declared):
        return value
    try:
        if value is None or (kind is bool and value not in (0, 1)):
            raise TypeError
        cast = kind(value)
        if kind is int and not isinstance(value, str) and cast != value:
            raise ValueError
        return cast
    except (TypeError, ValueError, OverflowError):
        raise SettingError(
            name,
            value,
            expected=f"{_EXPECTED[kind]}, as the type of the argument says",
            advice="Correct the hyperparameter.",
        ) from None
