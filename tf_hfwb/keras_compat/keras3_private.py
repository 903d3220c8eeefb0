"""Private names of Keras 3, each with its purpose; see ``private_names.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from tf_hfwb.keras_compat.common_private import SavingLibrary
from tf_hfwb.keras_compat.private_names import looks_up

_looks_up = looks_up("keras")

# -- models and layers -------------------------------------------------------------------------------------------------


@_looks_up
def all_layers(model: Any) -> list[Any]:
    """The model and all layers within it, however they are nested."""
    return list(model._flatten_layers())


def set_dtype_policy(layer: Any, policy: Any) -> None:
    """Set in which types a layer computes and keeps weights; tf_keras has no public setter for it."""
    layer.dtype_policy = policy


@_looks_up
def own_variables(layer: Any) -> list[Any]:
    """The variables of a layer, without those of layers within it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


@_looks_up
def own_trained_variables(layer: Any) -> list[Any]:
    """Those of a layer's own variables that were made to be trained, whether they are frozen by now or not."""
    return list(layer._trainable_variables)


def structure_of_inputs(model: Any) -> Any:
    """The inputs that a functional model was made with, as they are nested; None of all other models."""
    return getattr(model, "_inputs_struct", None)


@_looks_up
def loss_tracker(model: Any) -> Any:
    """The metric that receives the loss of each step of a compiled model."""
    return model._loss_tracker


@_looks_up
def compiled_loss(model: Any) -> Callable[[Any, Any, Any], Any] | None:
    """From labels, outputs and weights to the loss that a model was compiled with; None without one."""
    found: Callable[[Any, Any, Any], Any] | None = model._compile_loss
    return found


@_looks_up
def has_compiled_metrics(model: Any) -> bool:
    """Whether a model was compiled with metrics; another ``compile`` without any keeps them."""
    return model._compile_metrics is not None


@_looks_up
def with_default_mode(model: Any, mode: Callable[[], bool | None]) -> dict[str, Callable[..., Any]]:
    """The method of a model that decides whether it trains, by its name, for callers that do not say."""
    find = model._get_call_context

    def find_with_default() -> Any:
        context, training = find(), mode()
        if training is not None and context.entry_layer is model and context.get_value("training") is None:
            context.set_value("training", training)
        return context

    return {"_get_call_context": find_with_default}


@_looks_up
def symbolic_build(model: Any) -> Callable[..., None]:
    """The method that makes the metrics' variables before there is a first step."""
    return model._symbolic_build


@_looks_up
def model_writer() -> Callable[[Any], tuple[str, str]]:
    """The function that gives configuration and metadata of an archive, as JSON."""
    from keras.src.saving.saving_lib import _serialize_model_as_json

    return _serialize_model_as_json


# -- the state that fit carries on JAX ---------------------------------------------------------------------------------

_KINDS = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")


def carried_state(model: Any) -> dict[str, list[Any]] | None:
    """The values of the variables while ``fit`` keeps them outside of these, by their kind; None at other times."""
    state = None if _is_synced(model) else getattr(model, "_jax_state", None)  # There is none before the first step.
    return state or None


@_looks_up
def _is_synced(model: Any) -> bool:
    """Whether the model's variables have the values that ``fit`` carries on JAX."""
    return model._jax_state_synced


def show_carried_state(model: Any, state: Any) -> None:
    """Put the state of a step where Keras keeps it between two steps."""
    # Set the usual way, every list would be copied, and looked through for layers and variables to track.
    object.__setattr__(model, "_jax_state", dict(zip(_KINDS, state, strict=True)))


# -- optimizers --------------------------------------------------------------------------------------------------------


@_looks_up
def iterations(optimizer: Any) -> Any:
    """The variable that counts batches; the public one counts updates where batches are accumulated."""
    return optimizer._iterations


@_looks_up
def learning_rate(optimizer: Any) -> Any:
    """The rate as the optimizer was given it: a variable, a schedule or a function; the public one is a number."""
    return optimizer._learning_rate


@_looks_up
def variables_of_optimizer(optimizer: Any) -> list[Any]:
    """The list of the optimizer's variables itself, by which it saves and loads them."""
    return optimizer._variables


@_looks_up
def untrack_variable(optimizer: Any) -> Callable[[Any], None]:
    """The method that lets an optimizer forget a variable."""
    return optimizer._untrack_variable


@_looks_up
def check_gradient_methods(optimizer_class: Any, backend: str) -> None:
    """The methods that our optimizers replace: nothing would call these in a version without them."""
    _ = optimizer_class._clip_gradients, optimizer_class._apply_weight_decay
    if backend == "tensorflow":
        _ = optimizer_class._all_reduce_sum_gradients


@_looks_up
def place_of(optimizer: Any, variable: Any) -> int:
    """The place of a trained variable among those that an optimizer was built for."""
    return optimizer._get_variable_index(variable)


# -- the loop over epochs ----------------------------------------------------------------------------------------------


@_looks_up
def set_initial_epoch(model: Any, epoch: Any) -> None:
    """The epoch with which ``fit`` begins, whatever it was called with."""
    _ = model._initial_epoch  # Setting alone would be no error where nobody reads it.
    model._initial_epoch = epoch


@_looks_up
def forget_number_of_batches(epoch_iterator: Any) -> None:
    """The number of batches that the first epoch had, which Keras takes for that of all."""
    _ = epoch_iterator._num_batches
    epoch_iterator._num_batches = None


@_looks_up
def enumerate_epoch(epoch_iterator: Any) -> Callable[[], Iterator[Any]]:
    """The method of the epoch iterator that goes through one epoch."""
    return epoch_iterator._enumerate_iterator


@_looks_up
def replace_enumerate_epoch(epoch_iterator: Any, function: Callable[[], Iterator[Any]]) -> None:
    """The method of the epoch iterator that goes through one epoch, replaced."""
    _ = epoch_iterator._enumerate_iterator
    epoch_iterator._enumerate_iterator = function


@_looks_up
def put_back_enumerate_epoch(epoch_iterator: Any) -> None:
    """The method of the epoch iterator that goes through one epoch, as its class has it."""
    del epoch_iterator._enumerate_iterator


@_looks_up
def add_steps_seen(epoch_iterator: Any, number: int) -> None:
    """The number of steps that an epoch iterator has taken of its data."""
    epoch_iterator._steps_seen += number


@_looks_up
def replace_get_iterator(epoch_iterator: Any, wrap: Callable[[Callable[[], Any]], Any]) -> None:
    """The method that gives what an epoch iterator reads in one pass over the data, wrapped."""
    get_iterator = epoch_iterator._get_iterator
    epoch_iterator._get_iterator = lambda: wrap(get_iterator)


@_looks_up
def reads_arrays(data_adapter: Any) -> bool:
    """Whether the data of a ``fit`` are arrays."""
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    return isinstance(data_adapter, ArrayDataAdapter)


@_looks_up
def reads_stored_batches(data_adapter: Any) -> bool:
    """Whether the data of a ``fit`` are arrays or a PyDataset, of which any batch can be read again."""
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    return isinstance(data_adapter, (ArrayDataAdapter, PyDatasetAdapter))


@_looks_up
def keep_order_of_caller(caller: FrameType) -> None:
    """Whether the adapter of a PyDataset shuffles the batches, of an adapter that calls what it reads."""
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    adapter = caller.f_locals.get("self")
    if isinstance(adapter, PyDatasetAdapter):
        _ = adapter.shuffle
        adapter.shuffle = False


@_looks_up
def reads_grain(data_adapter: Any) -> bool:
    """Whether the data of a ``fit`` are a loader or a data set of Grain."""
    from keras.src.trainers.data_adapters.grain_dataset_adapter import GrainDatasetAdapter

    return isinstance(data_adapter, GrainDatasetAdapter)


@_looks_up
def follow_batches(data_adapter: Any, read: Callable[[Callable[[], Any]], Iterator[Any]]) -> None:
    """What a ``fit`` on JAX or PyTorch reads of a data adapter, read by a function instead."""
    make_for_jax, data = data_adapter.get_jax_iterator, data_adapter._dataset
    data_adapter.get_jax_iterator = lambda: read(make_for_jax)

    def make_for_torch() -> Any:
        data_adapter._dataset = _Reading(lambda: read(lambda: data))  # Keras iterates over it, and nothing else.
        return type(data_adapter).get_torch_dataloader(data_adapter)

    data_adapter.get_torch_dataloader = make_for_torch


class _Reading:
    """What begins to read each time it is iterated over."""

    def __init__(self, begin: Callable[[], Iterator[Any]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[Any]:
        return self._begin()


# -- what has no name in the documentation -----------------------------------------------------------------------------


@_looks_up
def saving_library() -> SavingLibrary:
    """What walks through a model to save it."""
    from keras.src.saving import saving_lib

    return SavingLibrary(saving_lib._save_state, saving_lib.H5IOStore, saving_lib.DiskIOStore)


@_looks_up
def custom_objects_in_scope() -> Mapping[str, Any]:
    """The classes of the ``custom_object_scope`` that is open."""
    from keras.src.backend.common import global_state

    return dict(global_state.get_global_attribute("custom_objects_scope_dict", {}))


@_looks_up
def global_seed_generator(*, make: bool) -> Any:
    """The seed generator of all that has none of its own; None if there is none yet and none is to be made."""
    from keras.src.backend.common import global_state
    from keras.src.random import seed_generator

    if make:
        return seed_generator.global_seed_generator()
    return global_state.get_global_attribute("global_seed_generator")
