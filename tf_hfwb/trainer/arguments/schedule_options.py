"""The options of each learning-rate schedule: what ``lr_scheduler_kwargs`` may say, and what holds without it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tf_hfwb.errors import SettingError


class _Option(NamedTuple):
    """A schedule's option: its default, and what a value must be. A value that cannot be compared is refused, too."""

    default: Any
    accepts: Callable[[Any], bool]
    expected: str


def _is_number(value: Any) -> bool:
    return not isinstance(value, (bool, str)) and math.isfinite(value) and value >= 0


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _number(default: float | None) -> _Option:
    if default is None:
        return _Option(None, lambda v: v is None or _is_number(v), "a number, 0 or more, or None")
    return _Option(default, _is_number, "a number, 0 or more")


def _count(default: int | None) -> _Option:
    return _Option(default, _is_count, "a whole number, 0 or more")


def _word(default: str, *others: str) -> _Option:
    words = (default, *others)
    return _Option(default, lambda v: v in words, "one of " + ", ".join(map(repr, words)))


_CYCLES = {"num_cycles": _number(0.5)}
_LEAST = {"min_lr": _number(None), "min_lr_rate": _number(None)}

# The names and defaults of transformers' schedules and of torch.optim.lr_scheduler.ReduceLROnPlateau.
_OPTIONS: dict[str, dict[str, _Option]] = {
    "linear": {},
    "cosine": _CYCLES,
    "cosine_with_restarts": {"num_cycles": _number(1)},
    "polynomial": {"lr_end": _number(1e-7), "power": _number(1.0)},
    "constant": {},
    "constant_with_warmup": {},
    "inverse_sqrt": {"timescale": _Option(None, lambda v: v is None or (_is_number(v) and v > 0), "a number above 0")},
    "reduce_lr_on_plateau": {
        "mode": _word("min", "max"),
        "factor": _Option(0.1, lambda v: _is_number(v) and v < 1, "a number from 0 to below 1"),
        "patience": _count(10),
        "threshold": _number(1e-4),
        "threshold_mode": _word("rel", "abs"),
        "cooldown": _count(0),
        "min_lr": _number(0.0),
        "eps": _number(1e-8),
    },
    "cosine_with_min_lr": {**_CYCLES, **_LEAST},
    "cosine_warmup_with_min_lr": {**_CYCLES, **_LEAST, "warmup_lr_rate": _number(None)},
    "warmup_stable_decay": {
        "num_decay_steps": _count(None),
        "num_stable_steps": _Option(None, lambda v: v is None or _is_count(v), "a whole number, 0 or more, or None"),
        "warmup_type": _word("linear", "cosine", "1-sqrt"),
        "decay_type": _word("cosine", "linear", "1-sqrt"),
        "min_lr_ratio": _number(0.0),
        **_CYCLES,
    },
}


def parse_schedule_kwargs(given: Any) -> dict[str, Any] | None:
    """What ``lr_scheduler_kwargs`` says: a command line gives a dict as JSON.

    Raises:
        SettingError: It is neither a dict nor the JSON of one.

    Example:
        >>> parse_schedule_kwargs('{"num_cycles": 2}')
        {'num_cycles': 2}
    """
    parsed = given
    if isinstance(given, str):
        try:
            parsed = json.loads(given)
        except ValueError:
            parsed = given
    if parsed is None or isinstance(parsed, Mapping):
        return None if parsed is None else dict(parsed)
    raise SettingError("lr_scheduler_kwargs", given, expected="a dict, or a JSON object")


def options_of_schedule(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a schedule: those that were given, and the defaults of the others.

    Args:
        kind: The schedule, as ``lr_scheduler_type`` names it.
        given: Options by name.

    Raises:
        SettingError: The schedule has no such option, or cannot use its value.

    Example:
        >>> options_of_schedule("cosine", {}), options_of_schedule("polynomial", {"power": 2})
        ({'num_cycles': 0.5}, {'lr_end': 1e-07, 'power': 2})
    """
    known = _OPTIONS[kind]
    for name, value in given.items():
        if name not in known:
            accepted = f"one of {', '.join(known)}" if known else "no options"
            raise SettingError(
                "lr_scheduler_kwargs", dict(given), expected=f"{accepted}, with {kind!r}, and not {name!r}"
            )
        if not _accepts(known[name], value):
            raise SettingError(f"lr_scheduler_kwargs[{name!r}]", value, expected=known[name].expected)
    options = {name: given.get(name, option.default) for name, option in known.items()}
    if "min_lr_rate" in options and (options["min_lr"] is None) == (options["min_lr_rate"] is None):
        raise SettingError("lr_scheduler_kwargs", dict(given), expected=f"min_lr or min_lr_rate, with {kind!r}")
    if options.get("num_decay_steps", 0) is None:
        raise SettingError("lr_scheduler_kwargs", dict(given), expected=f"num_decay_steps, with {kind!r}")
    return options


def _accepts(option: _Option, value: Any) -> bool:
    try:
        return option.accepts(value)
    except TypeError:
        return False
