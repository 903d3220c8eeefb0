"""Private names of TensorFlow, each with its purpose; see ``private_names.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tf_hfwb.keras_compat.private_names import looks_up

_looks_up = looks_up("tensorflow")


@_looks_up
def global_generator() -> Any:
    """The global random generator if it was made; ``tf.random.get_global_generator`` would make it."""
    from tensorflow.python.ops import stateful_random_ops

    return stateful_random_ops.global_generator


@_looks_up
def publish_to_workers() -> Callable[[str, str], None]:
    """The function that puts a text under a key where all workers of a job find it."""
    from tensorflow.python.eager import context

    return context.context().set_config_key_value


@_looks_up
def published_by_workers() -> Callable[[str, int], str]:
    """The function that waits so many milliseconds for such a text."""
    from tensorflow.python.eager import context

    return context.context().get_config_key_value


@_looks_up
def meet_workers() -> Callable[[str, int], None]:
    """The function that waits so many milliseconds until all workers have called it with the same name."""
    from tensorflow.python.eager import context

    return context.context().wait_at_barrier


@_looks_up
def symbol_lookup() -> Callable[[str], Any]:
    """The function that finds what TensorFlow exports under a name, as tf_keras finds it."""
    from tensorflow.python.util.tf_export import get_symbol_from_name

    return get_symbol_from_name


def as_one_operation(function: Callable[..., Any]) -> Any:
    """A function that stays one operation in the graphs that call it (the attribute ``_noinline``)."""
    import tensorflow as tf

    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def is_dispatched(function: Any) -> bool:
    """Whether a function of TensorFlow takes symbolic tensors of Keras (``_tf_fallback_dispatchers``)."""
    return hasattr(function, "_tf_fallback_dispatchers")


@_looks_up
def slot_maker(optimizer: Any) -> Callable[[list[Any]], None]:
    """The method of a ``tf.compat.v1.train`` optimizer that makes its slots before the first step."""
    return optimizer._create_slots


def rate_of_native_optimizer(optimizer: Any) -> Any:
    """The learning rate of a ``tf.compat.v1.train`` optimizer, if it has one (``_lr`` or ``_learning_rate``)."""
    return getattr(optimizer, "_lr", getattr(optimizer, "_learning_rate", None))


# Transformations of tf.data that leave the size of batches as it is, some of whose classes are private.
_SAME_BATCHES = (
    *("PrefetchDataset", "RepeatDataset", "TakeDataset", "SkipDataset", "ShuffleDataset", "CacheDataset"),
    *("OptionsDataset", "ShardDataset", "AssertCardinalityDataset"),
)


def size_given_to_batch(data: Any) -> Any:
    """The size that a ``tf.data.Dataset`` was batched with (``_batch_size``); None if it is not known.

    The transformations after that are followed back to the one that made the batches (``_input_dataset``).
    """
    while type(data).__name__.lstrip("_") in _SAME_BATCHES and hasattr(data, "_input_dataset"):
        data = data._input_dataset
    return getattr(data, "_batch_size", None)


_Error = TypeVar("_Error", bound=Exception)


def keep_type(error: _Error) -> _Error:
    """An error that a traced function is about to raise, which autograph would turn into one of its own types.

    It leaves an error alone that has this attribute (``ag_pass_through``).
    """
    error.ag_pass_through = True  # type: ignore[attr-defined]
    return error
