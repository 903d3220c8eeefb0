"""Which values each of ``TFTrainingArguments`` accepts, whatever the others are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

from tf_hfwb.dashboards.installed_dashboards import check_installed
from tf_hfwb.errors import SettingError
from tf_hfwb.trainer.optimization.optimizer_names import parse_optimizer

# HfArgumentParser makes a flag with these choices of a field of such a type.
Strategy = Literal["no", "steps", "epoch"]
SaveStrategy = Literal["no", "steps", "epoch", "best"]
LogLevel = Literal["detail", "debug", "info", "warning", "error", "critical", "passive"]
Schedule = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "reduce_lr_on_plateau",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
]

_WORDS: dict[str, tuple[str, ...]] = {
    "eval_strategy": get_args(Strategy),
    "logging_strategy": get_args(Strategy),
    "save_strategy": get_args(SaveStrategy),
    "lr_scheduler_type": get_args(Schedule),
    "hub_strategy": ("end", "every_save", "checkpoint", "all_checkpoints"),
    "include_num_input_tokens_seen": ("no", "all", "non_padding"),
    "log_level": get_args(LogLevel),
    "log_level_replica": get_args(LogLevel),
}
_WORDS_OF_FLAGS = {"true": "all", "false": "no"}  # For include_num_input_tokens_seen, which once was a flag.
_INTEGRATIONS = ("wandb", "tensorboard", "trackio")
_INCLUDABLE = ("inputs", "loss")  # In what compute_metrics gets.


@dataclass(frozen=True)
class _Rule:
    """What a value must be. A value whose type cannot be compared is refused, too."""

    accepts: Callable[[Any], bool]
    expected: str


def _is_int(value: Any, minimum: float = -math.inf) -> bool:
    return isinstance(value, int) and value >= minimum


def _is_interval(value: Any) -> bool:
    return value > 0 and (value < 1 or float(value).is_integer())


def _or_none(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or accepts(value)


_INTERVAL = "a number of steps, 1 or more, or a share of all steps below 1"
_SAMPLES = _Rule(lambda v: _is_int(v, 1), "a number of samples, 1 or more")
_FINITE = _Rule(lambda v: math.isfinite(v) and v >= 0, "a finite number, 0 or more")
_BETA = _Rule(lambda v: 0 <= v < 1, "a number from 0 to below 1")
_WORD_OR_NONE = _Rule(_or_none(lambda v: isinstance(v, str) and v != ""), "a word, or None")
_COUNT_OR_NONE = _Rule(_or_none(lambda v: _is_int(v, 1)), "a number, 1 or more, or None")

_RULES: dict[str, _Rule] = {
    "per_device_train_batch_size": _SAMPLES,
    "per_device_eval_batch_size": _SAMPLES,
    "gradient_accumulation_steps": _Rule(lambda v: _is_int(v, 1), "a number of batches, 1 or more"),
    "learning_rate": _FINITE,
    "weight_decay": _FINITE,
    "adam_epsilon": _FINITE,
    "max_grad_norm": _FINITE,
    "poly_power": _FINITE,
    "neftune_noise_alpha": _Rule(_or_none(lambda v: math.isfinite(v) and v > 0), "a finite number above 0, or None"),
    "tf32": _Rule(_or_none(lambda v: isinstance(v, bool)), "True, False, or None"),
    "debug": _Rule(lambda v: v in ("", "underflow_overflow"), "'' or 'underflow_overflow'"),
    "label_smoothing_factor": _BETA,
    "adam_beta1": _BETA,
    "adam_beta2": _BETA,
    "num_train_epochs": _Rule(lambda v: math.isfinite(v) and v > 0, "a number of epochs above 0"),
    "max_steps": _Rule(_is_int, "a number of steps, or -1 to train by epochs"),
    "warmup_ratio": _Rule(lambda v: 0 <= v <= 1, "a number between 0 and 1"),
    "warmup_steps": _Rule(lambda v: _is_int(v, 0), "a number of steps, 0 or more"),
    "logging_steps": _Rule(_is_interval, _INTERVAL),
    "eval_steps": _Rule(_or_none(_is_interval), _INTERVAL),
    "save_steps": _Rule(_is_interval, _INTERVAL),
    "save_total_limit": _Rule(
        _or_none(lambda v: type(v) is int and v >= 1), "a number of checkpoints, 1 or more, or None to keep all"
    ),
    "eval_delay": _FINITE,
    "dataloader_num_workers": _Rule(lambda v: _is_int(v, 0), "a number of threads, 0 or more"),
    "dataloader_prefetch_factor": _COUNT_OR_NONE,
    "length_column_name": _Rule(lambda v: isinstance(v, str) and v != "", "the name of a column"),
    "link_to_registry": _Rule(_or_none(lambda v: isinstance(v, str) and v != ""), "a collection's name, or None"),
    "metric_for_best_model": _Rule(_or_none(lambda v: isinstance(v, str)), "the name of a metric, or None"),
    "greater_is_better": _Rule(_or_none(lambda v: isinstance(v, bool)), "True, False, or None"),
    "seed": _Rule(lambda v: _is_int(v, 0) and v < 2**32, "an integer from 0 to 2**32 - 1"),
    "data_seed": _Rule(_or_none(_is_int), "an integer, or None to take seed"),
    "hub_model_id": _WORD_OR_NONE,
    "hub_token": _WORD_OR_NONE,
    "hub_revision": _WORD_OR_NONE,
    "generation_max_length": _COUNT_OR_NONE,
    "generation_num_beams": _COUNT_OR_NONE,
}


def check_values(args: Any) -> None:
    """Check each value by itself.

    Args:
        args: The arguments. Words of transformers' enumerations become plain ones.

    Raises:
        SettingError: A value is out of range, or a word is unknown.
    """
    kind = args.include_num_input_tokens_seen
    args.include_num_input_tokens_seen = _WORDS_OF_FLAGS.get(str(kind).lower(), kind)
    for name, words in _WORDS.items():
        setattr(args, name, _plain_word(name, getattr(args, name), words))
    for name, rule in _RULES.items():
        _check_value(name, getattr(args, name), rule)
    parse_optimizer(args.optim, args.optim_args)
    for word in args.include_for_metrics:
        if word not in _INCLUDABLE:
            raise SettingError("include_for_metrics", word, accepted=_INCLUDABLE)


def parse_report_to(report_to: str | list[str] | None) -> list[str]:
    """The integrations that ``report_to`` stands for: W&B where nothing is said, and for ``"all"`` what is installed.

    Raises:
        SettingError: One of them is unknown or not installed, or ``"none"`` or ``"all"`` is not by itself.

    Example:
        >>> parse_report_to(None), parse_report_to("none"), parse_report_to("wandb")
        (['wandb'], [], ['wandb'])
    """
    if report_to is None:
        return ["wandb"]
    if report_to in ("all", ["all"]):
        return [name for name in _INTEGRATIONS if find_spec(name) is not None]
    if report_to in ("none", ["none"], []):
        return []
    names = [report_to] if isinstance(report_to, str) else list(report_to)
    if len(names) > 1 and {"none", "all"}.intersection(names):
        raise SettingError("report_to", report_to, expected="'none' or 'all' by itself, or a list of integrations")
    for name in names:
        if name not in _INTEGRATIONS:
            raise SettingError("report_to", name, accepted=[*_INTEGRATIONS, "none", "all"])
        if name != "wandb":
            check_installed(name, "report_to")
    return list(dict.fromkeys(names))


def _plain_word(name: str, value: Any, words: tuple[str, ...]) -> str:
    if value not in words:
        raise SettingError(name, value, accepted=words)
    return words[words.index(value)]


def _check_value(name: str, value: Any, rule: _Rule) -> None:
    try:
        is_accepted = rule.accepts(value)
    except TypeError:
        is_accepted = False
    if not is_accepted:
        raise SettingError(name, value, expected=rule.expected)
