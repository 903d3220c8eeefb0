"""The variables of a tf_keras model's optimizer, and of TensorFlow's random generators."""

from __future__ import annotations

from typing import Any

from tf_hfwb.keras_compat import tensorflow_private, tf_keras_private
from tf_hfwb.keras_compat.tf_keras_generators import generators_of
from tf_hfwb.keras_compat.training_variables import Variables, name_variables


def optimizer_variables(model: Any) -> Variables:
    """Iterations, slots, moving averages, changeable hyperparameters and the loss scale; created if necessary."""
    optimizer = model.optimizer
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    native = native_optimizer(optimizer)
    with model.distribute_strategy.scope():
        if native is not None:
            tensorflow_private.slot_maker(native)(model.trainable_variables)
            variables = [optimizer.iterations, *native.variables()]
        elif (make_slots := tf_keras_private.legacy_slot_maker(inner)) is not None:  # As transformers' own are.
            _ = inner.iterations
            make_slots(model.trainable_variables)
            parameters = tf_keras_private.legacy_hyperparameters(inner)
            hyper = [value for _, value in sorted(parameters.items()) if hasattr(value, "assign")]
            variables = [*inner.weights, *hyper]
        else:
            inner.build(model.trainable_variables)
            variables = [*inner.variables, *tf_keras_private.learning_rate_variables(inner)]
    variables += tf_keras_private.loss_scale_variables(optimizer)
    return name_variables("optimizer", variables, parts=3)


def native_optimizer(optimizer: Any) -> Any:
    """The optimizer of ``tf.compat.v1.train`` that tf_keras has wrapped; None for all other optimizers.

    Of all that Keras's optimizers have, the wrapper has only the counter.
    """
    import tensorflow as tf

    inner = getattr(optimizer, "optimizer", None)
    return inner if isinstance(inner, tf.compat.v1.train.Optimizer) else None


def random_variables(model: Any) -> Variables:
    """The states of the layers' generators, each of which is the same in all replicas."""
    generators = [tf_keras_private.stateful_generator(generator) for _, generator in generators_of(model)]
    return name_variables("random", [generator.state for generator in generators if generator])


def global_random_variable(*, make: bool) -> Any:
    """The state of TensorFlow's global generator; None if it does not exist yet and ``make`` is False."""
    import tensorflow as tf

    if tensorflow_private.global_generator() is None and make:
        # get_global_generator is forbidden when operations are deterministic.
        tf.random.set_global_generator(tf.random.Generator.from_seed(0))
    generator = tensorflow_private.global_generator()
    return None if generator is None else generator.state
