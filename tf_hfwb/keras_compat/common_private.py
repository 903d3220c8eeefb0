"""Private names that tf_keras and Keras 3 share, each with its purpose; see ``private_names.py``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from tf_hfwb.keras_compat.private_names import looks_up

_Hook = TypeVar("_Hook", bound=Callable[..., Any])


class SavingLibrary(NamedTuple):
    """What a Keras saves a model with.

    Attributes:
        save_state: Walks through a model, and lets each part write into two stores (``_save_state``).
        weights_store: The class of the store of weights.
        assets_store: The class of the store of files.
    """

    save_state: Callable[..., None]
    weights_store: Any
    assets_store: Any


def mark_as_default(hook: _Hook) -> _Hook:
    """Mark a batch hook that does nothing, so that neither Keras calls it (``_is_default``)."""
    hook._is_default = True  # type: ignore[attr-defined]
    return hook


def is_default(hook: Callable[..., Any]) -> bool:
    """Whether a batch hook is marked as one that does nothing (``_is_default``)."""
    return getattr(hook, "_is_default", False)


def names_of_gradient_methods(optimizer: Any) -> tuple[str, ...]:
    """The methods through which the gradients of each real update pass, in the order in which they are called.

    Legacy optimizers of tf_keras have one that gets gradients and variables. All others have one that gets the
    gradients, and one that gets the variables.
    """
    if hasattr(optimizer, "_transform_gradients"):
        return ("_transform_gradients",)
    packages = {ancestor.__module__.partition(".")[0] for ancestor in type(optimizer).__mro__}

    @looks_up("keras" if "keras" in packages else "tf_keras")
    def names_of_two() -> tuple[str, str]:
        """The methods of an optimizer through which the gradients of each real update pass."""
        _ = optimizer._clip_gradients, optimizer._apply_weight_decay
        return "_clip_gradients", "_apply_weight_decay"

    return names_of_two()


def compile_arguments(model: Any) -> Mapping[str, Any]:
    """The objects that ``compile`` was called with, by argument (``_compile_config``); none before that.

    ``get_compile_config``, the public way, gives their configuration, which does not tell whose objects they were.
    """
    return getattr(getattr(model, "_compile_config", None), "config", None) or {}


def function_of_metric(metric: Any) -> Any:
    """The function that a metric averages; None where the metric computes by itself (``_fn``)."""
    return getattr(metric, "_fn", None)


def direction_of_metric(metric: Any) -> Any:
    """``"up"`` or ``"down"`` of a metric that tells which is better; None of all others (``_direction``)."""
    return getattr(metric, "_direction", None)


def print_message(package: str, message: str) -> None:
    """Print a line as a Keras prints its own, unless its output is switched off."""
    try:
        print_msg = importlib.import_module(f"{package}.src.utils.io_utils").print_msg
    except (ImportError, AttributeError):
        print(message)  # noqa: T201  # The public way, which cannot be switched off.
        return
    print_msg(message)


def makers_of_outputs(model: Any) -> list[Any]:
    """The layers that give the outputs of a functional model (``_keras_history``); none of all other models."""
    histories = [getattr(output, "_keras_history", None) for output in getattr(model, "outputs", None) or ()]
    return [history[0] for history in histories if history is not None]
