"""At which steps a row of training metrics is written, as ``log_freq`` says it."""

from __future__ import annotations

from tf_hfwb.step_policies import EverySteps, Never, Once, Policy
from tf_hfwb.validation.argument_checks import check_whole_number


def logging_policy(log_freq: str | int, first: bool) -> Policy:
    """The steps at which a row is due.

    Args:
        log_freq: ``"epoch"``, ``"batch"``, ``"no"`` or a number of steps.
        first: Whether one is due at the first step, too.

    Raises:
        SettingError: It is none of them.
    """
    if log_freq in ("epoch", "no"):
        return Once(1) if first else Never()
    if log_freq == "batch":
        return EverySteps(1)
    expected = "'epoch', 'batch', 'no' or a number of steps, 1 or more"
    return EverySteps(check_whole_number("log_freq", log_freq, expected=expected), first=first)
