"""The gradient of a batch of which replicas have unequal parts.

Keras takes the mean over replicas, however many samples each of them has. So in the last batch of an epoch a sample of
a nearly empty replica counts for several others, and a replica without samples makes the update smaller. Here each
replica's gradient counts as its samples do, or as the tokens that it predicts, and the update is that of one device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tf_hfwb.keras_compat.accumulation.gradient_accumulation import accumulation_of
from tf_hfwb.keras_compat.loss_recorder import StepRecorder


@contextlib.contextmanager
def weigh_replicas(
    model: Any, recorder: StepRecorder, *, takes_pairs: bool, count: Callable[[Any], Any] | None = None
) -> Iterator[None]:
    """Weigh the gradients of replicas in the ``fit`` that is called within this context.

    Args:
        model: The model, with its optimizer.
        recorder: Knows the samples of each replica.
        takes_pairs: Whether the optimizer's method is ``apply_gradients`` (tf_keras), which gets pairs, else ``apply``.
        count: How much a batch of a replica counts, from what the train step gets; None: as many as its samples.
    """
    accumulation = accumulation_of(model)
    if accumulation is not None:
        accumulation.counts_all_replicas = count is not None
    recorder.count = count
    optimizer = model.optimizer
    name = "apply_gradients" if takes_pairs else "apply"
    replaced = vars(optimizer).get(name)
    weigh = _weigh_pairs if takes_pairs else _weigh_gradients
    # Keras would track what is set the usual way, and save what hangs on it.
    object.__setattr__(optimizer, name, weigh(getattr(optimizer, name), recorder))
    model.train_function = None
    try:
        yield
    finally:
        recorder.count = None
        if replaced is None:
            object.__delattr__(optimizer, name)
        else:
            object.__setattr__(optimizer, name, replaced)
        model.train_function = None


def _weigh_pairs(apply: Callable[..., Any], recorder: StepRecorder) -> Callable[..., Any]:
    def apply_gradients(grads_and_vars: Iterable[tuple[Any, Any]], *args: Any, **options: Any) -> Any:
        gradients, variables = zip(*grads_and_vars, strict=True)
        return apply(list(zip(_weighed(gradients, recorder), variables, strict=True)), *args, **options)

    return apply_gradients


def _weigh_gradients(apply: Callable[..., Any], recorder: StepRecorder) -> Callable[..., Any]:
    def apply_weighed(grads: Sequence[Any], *args: Any, **options: Any) -> Any:
        return apply(_weighed(grads, recorder), *args, **options)

    return apply_weighed


def _weighed(gradients: Sequence[Any], recorder: StepRecorder) -> list[Any]:
    import tensorflow as tf

    weight = recorder.take_weight()
    if weight is None:  # The step applies gradients before Keras knows the loss.
        return list(gradients)
    given = [gradient for gradient in gradients if gradient is not None]

    def weighed() -> list[Any]:
        return [_times(weight, gradient) for gradient in given]

    # Nearly all batches are whole, and then nothing is to be multiplied.
    found = iter(tf.cond(tf.equal(weight, 1.0), lambda: given, weighed))
    return [None if gradient is None else next(found) for gradient in gradients]


def _times(weight: Any, gradient: Any) -> Any:
    import tensorflow as tf

    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(_times(weight, gradient.values), gradient.indices, gradient.dense_shape)
    # The gradient of a replica without samples may be no number.
    return tf.where(weight > 0, gradient * tf.cast(weight, gradient.dtype), tf.zeros([], gradient.dtype))
