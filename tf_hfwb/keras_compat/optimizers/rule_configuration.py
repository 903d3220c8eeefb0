"""The rules there are, and how the configuration of an optimizer names them."""

from __future__ import annotations

import dataclasses
from typing import Any

from tf_hfwb.keras_compat.optimizers.adafactor import Adafactor
from tf_hfwb.keras_compat.optimizers.adagrad import Adagrad
from tf_hfwb.keras_compat.optimizers.adamw import AdamW
from tf_hfwb.keras_compat.optimizers.lamb import Lamb
from tf_hfwb.keras_compat.optimizers.lion import Lion
from tf_hfwb.keras_compat.optimizers.rmsprop import RMSprop
from tf_hfwb.keras_compat.optimizers.sgd import SGD
from tf_hfwb.keras_compat.optimizers.update_rule import UpdateRule

RULES: dict[str, Any] = {
    "adamw": AdamW,
    "adafactor": Adafactor,
    "sgd": SGD,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "lion": Lion,
    "lamb": Lamb,
}


def configuration_of(rule: UpdateRule) -> dict[str, Any]:
    """The rule and its options, as a part of a configuration."""
    name = next(name for name, kind in RULES.items() if kind is type(rule))
    return {"rule": name, **dataclasses.asdict(rule)}  # type: ignore[call-overload]


def with_rule(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with the rule itself in place of its name and options."""
    kind = RULES[config["rule"]]
    names = {field.name for field in dataclasses.fields(kind)}
    others = {name: value for name, value in config.items() if name not in names}
    return {**others, "rule": kind(**{name: config[name] for name in names})}
