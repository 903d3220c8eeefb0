"""The end of a ``fit``, when an optimizer may put other weights into the model, such as their averages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tf_hfwb.keras_compat.mid_epoch_start import put_back_method, replace_method

_NAME = "finalize_variable_values"  # As both Kerases call it, behind the last epoch and in front of on_train_end.


def call_before_finalizing(optimizer: Any, act: Callable[[], None]) -> Callable[[], None]:
    """Call ``act`` when the running ``fit`` has ended without an exception and the weights are still those of its end.

    Args:
        optimizer: The model's. One that does not finalize is left alone.
        act: Called once at most.

    Returns:
        What gives up that call.
    """

    def give_up() -> None:
        if vars(optimizer).get(_NAME) is finalize:
            put_back_method(optimizer, _NAME)

    def finalize(*args: Any, **kwargs: Any) -> None:
        give_up()
        if sys.exc_info()[1] is handled:  # On JAX Keras finalizes after an exception, too.
            act()
        getattr(optimizer, _NAME)(*args, **kwargs)

    handled = sys.exc_info()[1]  # A fit may itself be called where an exception is handled.
    if hasattr(optimizer, _NAME):
        replace_method(optimizer, _NAME, finalize)
    return give_up
