"""Private names of tf_keras, each with its purpose; see ``private_names.py``."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.keras_compat.common_private import SavingLibrary
from tf_hfwb.keras_compat.private_names import looks_up

_looks_up = looks_up("tf_keras")

# -- models and layers -------------------------------------------------------------------------------------------------


@_looks_up
def is_compiled(model: Any) -> bool:
    """Whether ``compile`` was called."""
    return bool(model._is_compiled)


@_looks_up
def is_compiled_by_xla(model: Any) -> bool:
    """Whether XLA compiles the model's step."""
    return bool(model._jit_compile)


@_looks_up
def steps_per_execution(model: Any) -> Any:
    """The variable with the number of batches between two calls of a batch hook; None before ``compile``."""
    return model._steps_per_execution


@_looks_up
def optimizer_wrapper(model: Any) -> Callable[[Any], Any]:
    """The method that adds to an optimizer what ``compile`` adds: the loss scaling under float16."""
    return model._get_optimizer


@_looks_up
def loss_tracker(compiled_loss: Any) -> Any:
    """The metric that receives the loss of each step of a compiled model."""
    return compiled_loss._total_loss_mean


@_looks_up
def own_variables(layer: Any) -> list[Any]:
    """The variables of a layer, without those of layers within it, in the order in which they are saved."""
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def structure_of_inputs(model: Any) -> Any:
    """The inputs that a functional model was made with, as they are nested; None of all other models."""
    return getattr(model, "_nested_inputs", None)


@_looks_up
def weight_handler_class() -> type:
    """The class of what lookup layers have among their weights and what is not a variable."""
    from tf_keras.src.engine.base_layer_utils import TrackableWeightHandler

    return TrackableWeightHandler


# -- optimizers --------------------------------------------------------------------------------------------------------


def legacy_slot_maker(optimizer: Any) -> Callable[[list[Any]], None] | None:
    """The method of a legacy optimizer that makes all its variables (``_create_all_weights``); None of all others."""
    return getattr(optimizer, "_create_all_weights", None)


@_looks_up
def legacy_hyperparameters(optimizer: Any) -> Mapping[str, Any]:
    """The hyperparameters of a legacy optimizer by name; those that can be changed are variables."""
    return optimizer._hyper


def learning_rate_variables(optimizer: Any) -> list[Any]:
    """The variables with the learning rate, which the optimizer does not count among its own (``_learning_rate``)."""
    rates = [getattr(optimizer, "_learning_rate", None), getattr(optimizer, "_current_learning_rate", None)]
    return [rate for rate in rates if hasattr(rate, "assign")]


@_looks_up
def loss_scale_variables(optimizer: Any) -> list[Any]:
    """The variables of a dynamic loss scale, which belong to none of the optimizers; none without one."""
    import tf_keras

    if not (isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer) and optimizer.dynamic):
        return []
    scale = optimizer._loss_scale
    return [scale.current_loss_scale, scale.counter]


@_looks_up
def check_gradient_methods(optimizer_class: Any) -> None:
    """The methods that our optimizers replace: nothing would call these in a version without them."""
    _ = optimizer_class._clip_gradients, optimizer_class._apply_weight_decay


@_looks_up
def set_learning_rate(optimizer: Any, learning_rate: Any) -> None:
    """The rate of an optimizer that is being made: a number becomes a variable."""
    optimizer._learning_rate = optimizer._build_learning_rate(learning_rate)


@_looks_up
def describe_learning_rate(optimizer: Any) -> Any:
    """The rate in an optimizer's configuration: a number, or the configuration of a schedule."""
    return optimizer._serialize_hyperparameter(optimizer._learning_rate)


def has_slots(optimizer: Any) -> bool:
    """Whether an optimizer is built (``_built``)."""
    return getattr(optimizer, "_built", False)


def mark_as_having_slots(optimizer: Any) -> None:
    """Mark an optimizer as built, as tf_keras leaves it to each optimizer (``_built``)."""
    optimizer._built = True


@_looks_up
def place_of(optimizer: Any, variable: Any) -> int:
    """The place of a trained variable among those that an optimizer was built for."""
    return optimizer._index_dict[optimizer._var_key(variable)]


# -- the loop over epochs ----------------------------------------------------------------------------------------------


@_looks_up
def name_of_initial_counters(model: Any) -> str:
    """The method that tells ``fit`` with which epoch and step to begin."""
    _ = model._maybe_load_initial_counters_from_ckpt
    return "_maybe_load_initial_counters_from_ckpt"


@_looks_up
def data_adapter(data_handler: Any) -> Any:
    """What reads the data of a ``fit``, and knows whether it is one pass an epoch."""
    return data_handler._adapter


@_looks_up
def forget_number_of_batches(data_handler: Any) -> None:
    """The number of batches that the first epoch had, which tf_keras takes for that of all."""
    _ = data_handler._inferred_steps
    data_handler._inferred_steps = None


# -- random numbers ----------------------------------------------------------------------------------------------------


@_looks_up
def generator_of(layer: Any) -> Any:
    """The source of a layer's random numbers, whose state is saved; None of a layer that draws none."""
    import tf_keras

    if isinstance(layer, tf_keras.__internal__.layers.BaseRandomLayer):
        _ = layer._random_generator._rng_type  # Without them the state would silently be left out of checkpoints.
    generator = getattr(layer, "_random_generator", None)
    return generator if hasattr(generator, "_rng_type") else None


@_looks_up
def keeps_state_in_operations(generator: Any) -> bool:
    """Whether a layer draws by operations whose state cannot be saved."""
    return generator._rng_type == generator.RNG_LEGACY_STATEFUL


@_looks_up
def own_seed(generator: Any) -> int | None:
    """The seed that a layer was made with."""
    return generator._seed


@_looks_up
def seed_maker(generator: Any) -> Callable[[int | None], int]:
    """The method that draws a seed for a layer that was made without."""
    return generator._create_seed


@_looks_up
def initializer(generator: Any) -> Callable[[], None]:
    """The method that makes a layer's generator if that is not made yet."""
    return generator._maybe_init


@_looks_up
def seed_statefully(generator: Any, seed: int) -> None:
    """What decides, when a layer's generator is made, that its state is in a variable, and with which seed."""
    _ = generator._built  # Setting alone would be no error where nobody reads it.
    generator._rng_type, generator._seed, generator._built = generator.RNG_STATEFUL, seed, False


@_looks_up
def set_own_seed(generator: Any, seed: int | None) -> None:
    """The seed that a layer's configuration tells."""
    generator._seed = seed


@_looks_up
def stateful_generator(generator: Any) -> Any:
    """The generator of TensorFlow from which a layer draws; None if it draws otherwise."""
    return generator._generator


@_looks_up
def generator_of_seeds() -> random.Random | Any:
    """What tf_keras draws the seeds of layers from."""
    from tf_keras.src import backend

    return getattr(backend._SEED_GENERATOR, "generator", None) or random


# -- what has no name in the documentation -----------------------------------------------------------------------------


@_looks_up
def saving_library() -> SavingLibrary:
    """What walks through a model to save it."""
    from tf_keras.src.saving import saving_lib

    return SavingLibrary(saving_lib._save_state, saving_lib.H5IOStore, saving_lib.DiskIOStore)


@_looks_up
def serialization_library() -> Any:
    """The module that writes a model's configuration, with the scope in which it knows shared objects again."""
    from tf_keras.src.saving import serialization_lib

    _ = serialization_lib.ObjectSharingScope, serialization_lib.serialize_keras_object
    return serialization_lib


@_looks_up
def format_switch() -> Any:
    """What tells layers, by its ``value``, to write their configuration as the archive has it."""
    from tf_keras.src.saving import saving_lib

    return saving_lib._SAVING_V3_ENABLED


@_looks_up
def interactive_logging() -> Any:
    """The module that switches off what tf_keras prints."""
    from tf_keras.src.utils import io_utils

    _ = io_utils.is_interactive_logging_enabled, io_utils.disable_interactive_logging
    return io_utils


@_looks_up
def custom_objects_in_scope() -> Mapping[str, Any]:
    """The classes of the ``custom_object_scope`` that is open."""
    from tf_keras.src.saving import object_registration

    return dict(object_registration._THREAD_LOCAL_CUSTOM_OBJECTS.__dict__)


@_looks_up
def symbolic_tensor_classes() -> tuple[type, tuple[type, ...]]:
    """The class of symbolic tensors, and those of its subclasses that look attributes up in the values."""
    from tf_keras.src.engine import keras_tensor

    return keras_tensor.KerasTensor, (keras_tensor.RaggedKerasTensor, keras_tensor.SparseKerasTensor)
