"""Where an observer of gradients is put into an optimizer, so that it sees those of every update.

Each optimizer has a method through which its gradients pass, once for each real update; see ``common_private.py``. It
is replaced on the one instance.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.common_private import names_of_gradient_methods
from tf_hfwb.keras_compat.gradients.gradient_observer import GradientObserver
from tf_hfwb.keras_compat.step_seams import trace_again


def put_observer_into(
    model: Any, optimizer: Any, make: Callable[[Sequence[Any]], GradientObserver]
) -> GradientObserver:
    """Observe the gradients of ``model``; one that is observed already keeps its observer.

    Args:
        model: The model, compiled.
        optimizer: Its innermost optimizer.
        make: Makes an observer from the trained variables.
    """
    variables = model.trainable_variables if model.built else []
    observer = observer_of(optimizer)
    if observer is not None and {id(v) for v in variables} <= {id(v) for v in observer.variables}:
        return observer
    for old in () if observer is None else observer.own_variables:
        keras3_private.untrack_variable(optimizer)(old)
    observer = make(variables)
    _wrap_optimizer(model, optimizer, observer)
    trace_again(model)
    return observer


def _wrap_optimizer(model: Any, optimizer: Any, observer: GradientObserver) -> None:
    match names_of_gradient_methods(optimizer):
        case (transform,):
            _replace(optimizer, transform, observer, _observe_pairs)
        case (clip, decay):
            passed: list[Any] = []
            _replace(optimizer, clip, observer, functools.partial(_remember_gradients, passed))
            _replace(optimizer, decay, observer, functools.partial(_observe_remembered, passed))
    if observer.own_variables:
        for saved in {id(saved): saved for saved in (model.optimizer, optimizer)}.values():
            for name in ("save_own_variables", "load_own_variables"):
                _replace(saved, name, observer, functools.partial(_leave_out_own_variables, optimizer))


def observer_of(optimizer: Any) -> GradientObserver | None:
    """The observer of an innermost optimizer; None without one."""
    first, *_ = names_of_gradient_methods(optimizer)
    return getattr(getattr(optimizer, first), "observer", None)


def _replace(optimizer: Any, name: str, observer: GradientObserver, wrap: Callable[..., Any]) -> None:
    """Put ``wrap(observer, original, ...)`` in the place of a method of this one optimizer."""
    method = getattr(optimizer, name)
    original = getattr(method, "original", method)
    replaced = functools.partial(wrap, observer, original)
    replaced.observer, replaced.original = observer, original  # type: ignore[attr-defined]
    object.__setattr__(optimizer, name, replaced)  # Keras would track it, and save what hangs on it.


def _observe_pairs(observer: GradientObserver, original: Any, grads_and_vars: Iterable[tuple[Any, Any]]) -> Any:
    pairs = list(grads_and_vars)
    observer.observe([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
    return original(pairs)


def _remember_gradients(passed: list[Any], observer: GradientObserver, original: Any, gradients: Sequence[Any]) -> Any:
    passed[:] = gradients
    return original(gradients)


def _observe_remembered(passed: list[Any], observer: GradientObserver, original: Any, variables: Sequence[Any]) -> Any:
    if passed:
        observer.observe(passed[:], variables)
    passed.clear()
    return original(variables)


def _leave_out_own_variables(optimizer: Any, observer: GradientObserver, original: Any, store: Any) -> Any:
    own = {id(variable) for variable in observer.own_variables}
    variables = keras3_private.variables_of_optimizer(optimizer)
    everything = variables[:]
    variables[:] = [variable for variable in everything if id(variable) not in own]
    try:
        return original(store)
    finally:
        variables[:] = everything
