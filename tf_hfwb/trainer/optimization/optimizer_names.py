"""What ``optim`` and ``optim_args`` may be. Needs neither TensorFlow nor Keras."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from tf_hfwb.errors import SettingError

# Which rule of updates each name of transformers stands for. Fused and compiled variants compute the same.
OPTIMIZERS: dict[str, str] = {
    "adamw_torch": "adamw",
    "adamw_torch_fused": "adamw",
    "adamw_torch_xla": "adamw",
    "adamw_torch_npu_fused": "adamw",
    "adamw_apex_fused": "adamw",
    "adamw_hf": "adamw",
    "adafactor": "adafactor",
    "sgd": "sgd",
    "adagrad": "adagrad",
    "rmsprop": "rmsprop",
    "lion_32bit": "lion",
    "lion": "lion",
    "lamb": "lamb",
}


class RefusedOptimizer(NamedTuple):
    """Why an optimizer of transformers is not available, and what to use instead."""

    reason: str
    instead: str


_FEW_BITS = "its state of few bits is computed by a library of PyTorch"
_PAGED = "bitsandbytes moves its state between the memories of GPU and host, for PyTorch"
_LOW_RANK = "it projects gradients by a library of PyTorch"
_LIBRARY = "it comes from a library of PyTorch"
_ADAMW = "adamw_torch"
_SMALL = "adafactor"  # Its state is small.

REFUSED: dict[str, RefusedOptimizer] = {
    **dict.fromkeys(
        ["adamw_bnb_8bit", "adamw_8bit", "adamw_torch_4bit", "adamw_torch_8bit", "ademamix_8bit"],
        RefusedOptimizer(_FEW_BITS, _SMALL),
    ),
    **dict.fromkeys(["lion_8bit", "paged_lion_8bit"], RefusedOptimizer(_FEW_BITS, "lion_32bit")),
    "rmsprop_bnb_8bit": RefusedOptimizer(_FEW_BITS, "rmsprop"),
    **dict.fromkeys(["rmsprop_bnb", "rmsprop_bnb_32bit"], RefusedOptimizer("it is that of bitsandbytes", "rmsprop")),
    **dict.fromkeys(["paged_adamw_32bit", "paged_ademamix_32bit"], RefusedOptimizer(_PAGED, _ADAMW)),
    **dict.fromkeys(["paged_adamw_8bit", "paged_ademamix_8bit"], RefusedOptimizer(_PAGED, _SMALL)),
    "paged_lion_32bit": RefusedOptimizer(_PAGED, "lion_32bit"),
    **dict.fromkeys(
        [
            *("galore_adamw", "galore_adamw_8bit", "galore_adafactor", "galore_adamw_layerwise"),
            *("galore_adamw_8bit_layerwise", "galore_adafactor_layerwise", "apollo_adamw", "apollo_adamw_layerwise"),
        ],
        RefusedOptimizer(_LOW_RANK, _SMALL),
    ),
    **dict.fromkeys(["lomo", "adalomo"], RefusedOptimizer("it updates weights within PyTorch's backward pass", _SMALL)),
    **dict.fromkeys(
        ["adamw_anyprecision", "ademamix", "grokadamw", "stable_adamw", "schedule_free_adamw", "schedule_free_radam"],
        RefusedOptimizer(_LIBRARY, _ADAMW),
    ),
    "schedule_free_sgd": RefusedOptimizer(_LIBRARY, "sgd"),
}


class _Option(NamedTuple):
    """An option in ``optim_args``: how its text is read, and what it may be."""

    parse: Callable[[str], Any]
    accepts: Callable[[Any], bool]
    expected: str


def _parse_flag(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


_NUMBER = _Option(float, lambda value: math.isfinite(value) and value >= 0, "a number, 0 or more")
_SHARE = _Option(float, lambda value: 0 <= value < 1, "a number from 0 to below 1")
_FLAG = _Option(_parse_flag, lambda value: True, "True or False")

# By the names of PyTorch's and transformers' own classes. Those of AdamW, Lion and LAMB are arguments of the training.
_OPTIONS: dict[str, dict[str, _Option]] = {
    "sgd": {"momentum": _NUMBER, "dampening": _NUMBER, "nesterov": _FLAG},
    "adagrad": {"lr_decay": _NUMBER, "eps": _NUMBER},
    "rmsprop": {"alpha": _SHARE, "eps": _NUMBER, "momentum": _NUMBER, "centered": _FLAG},
    "adafactor": {
        "clip_threshold": _Option(float, lambda value: math.isfinite(value) and value > 0, "a number above 0"),
        "decay_rate": _Option(float, lambda value: -math.inf < value <= 0, "a number, 0 or less"),
        "beta1": _SHARE,
    },
}


def parse_optimizer(optim: str, optim_args: str | None) -> tuple[str, dict[str, Any]]:
    """Which optimizer is asked for, with which options.

    The ``Trainer`` of transformers ignores ``optim_args`` for the optimizers that are available here.

    Args:
        optim: A name of transformers.
        optim_args: ``"name=value,name=value"``, or None.

    Returns:
        The name of a rule of updates, and its options.

    Raises:
        SettingError: The optimizer or an option is not available, or an option has a value that cannot be used.

    Example:
        >>> parse_optimizer("adamw_torch_fused", None)
        ('adamw', {})
        >>> parse_optimizer("sgd", "momentum=0.9, nesterov=True")
        ('sgd', {'momentum': 0.9, 'nesterov': True})
    """
    if optim in REFUSED:
        reason, instead = REFUSED[optim]
        raise SettingError(
            "optim", optim, expected=f"one of {', '.join(OPTIMIZERS)}: {reason}", advice=f"Use optim={instead!r}."
        )
    if optim not in OPTIMIZERS:
        raise SettingError("optim", optim, accepted=tuple(OPTIMIZERS))
    if not isinstance(optim_args, str | None):
        raise SettingError("optim_args", optim_args, expected="options as text, such as 'momentum=0.9', or None")
    rule = OPTIMIZERS[optim]
    options = _parse_options(optim, optim_args or "", _OPTIONS.get(rule, {}))
    if options.get("nesterov") and (not options.get("momentum") or options.get("dampening")):
        raise SettingError("optim_args", optim_args, expected="momentum, and no dampening, with nesterov=True")
    return rule, options


def _parse_options(optim: str, optim_args: str, known: dict[str, _Option]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for part in optim_args.replace(" ", "").split(",") if optim_args.strip() else []:
        name, sign, text = part.partition("=")
        if not sign or name not in known or name in options:
            accepted = ",".join(f"{option}=..." for option in known) or "nothing"
            raise SettingError(
                "optim_args",
                optim_args,
                expected=f"{accepted} with optim={optim!r}, each once; there is {part!r}",
                advice="Rate, decay and the betas and epsilon of AdamW are arguments of their own.",
            )
        try:
            options[name] = known[name].parse(text)
            is_accepted = known[name].accepts(options[name])
        except (ValueError, KeyError):
            is_accepted = False
        if not is_accepted:
            raise SettingError("optim_args", optim_args, expected=f"{known[name].expected}, as {name}")
    return options
