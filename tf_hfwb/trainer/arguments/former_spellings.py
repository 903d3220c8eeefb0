"""Arguments under their former names: they are taken as the present ones, with a warning."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from typing import TYPE_CHECKING, Any

from tf_hfwb.errors import SettingError
from tf_hfwb.trainer.arguments.argument_support import default_of

if TYPE_CHECKING:
    from tf_hfwb.trainer.arguments.argument_fields import ArgumentFields

_logger = logging.getLogger("tf_hfwb")

RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "no_cuda": "use_cpu",
    "push_to_hub_token": "hub_token",
    "sortish_sampler": "group_by_length",
}
FORMER = frozenset(
    [*RENAMED, "include_inputs_for_metrics", "adafactor", "push_to_hub_model_id", "push_to_hub_organization"]
)


def take_former_spellings(args: ArgumentFields) -> None:
    """Put values that were given under former names where they belong; the former ones get their defaults again.

    Args:
        args: The arguments.

    Raises:
        SettingError: Both spellings were given, with different values.
    """
    defaults = {field.name: default_of(field) for field in dataclasses.fields(args)}
    given = {name: getattr(args, name) for name in sorted(FORMER) if getattr(args, name) != defaults[name]}
    for name, value in given.items():
        if name in RENAMED:
            _replace(args, name, RENAMED[name], value, defaults)
    if "adafactor" in given:
        _replace(args, "adafactor", "optim", "adafactor", defaults)
    if "include_inputs_for_metrics" in given:
        parts = [*args.include_for_metrics, "inputs"]
        _replace(args, "include_inputs_for_metrics", "include_for_metrics", list(dict.fromkeys(parts)), {})
    if given.keys() & {"push_to_hub_model_id", "push_to_hub_organization"}:
        name = args.push_to_hub_model_id or pathlib.Path(args.output_dir).name
        repository = f"{args.push_to_hub_organization}/{name}" if args.push_to_hub_organization else name
        former = "push_to_hub_model_id" if args.push_to_hub_model_id else "push_to_hub_organization"
        _replace(args, former, "hub_model_id", repository, defaults)
    for name in given:
        setattr(args, name, defaults[name])


def _replace(args: ArgumentFields, former: str, name: str, value: Any, defaults: dict[str, Any]) -> None:
    present = getattr(args, name)
    if name in defaults and present not in (defaults[name], value):
        raise SettingError(
            former,
            getattr(args, former),
            expected=f"the same as {name}={_shown(name, present)}, whose former spelling it is",
            advice=f"Pass {name} alone.",
        )
    _logger.warning("%s is a former spelling. Expected %s. Write %s=%s.", former, name, name, _shown(name, value))
    setattr(args, name, value)


def _shown(name: str, value: Any) -> str:
    return "..." if "token" in name else repr(value)
