"""Gradients accumulated on TensorFlow, for models of tf_keras and of Keras 3."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tf_hfwb.keras_compat.accumulation.batch_groups import BatchGroups
from tf_hfwb.keras_compat.accumulation.gradient_accumulation import GradientAccumulation, Part
from tf_hfwb.keras_compat.loss_recorder import StepRecorder, with_value

if TYPE_CHECKING:
    from tf_hfwb.keras_compat.host_base import Host


class _Call(NamedTuple):
    """How the train step has called the optimizer, apart from the gradients.

    Attributes:
        variables: The variables.
        have_gradients: Whether each of them has a gradient.
        more: Further arguments.
        options: Further arguments by name.
    """

    variables: list[Any]
    have_gradients: list[bool]
    more: tuple[Any, ...]
    options: dict[str, Any]


class TensorFlowAccumulation(GradientAccumulation):
    """The sums are variables of its own. Each replica has its own sum, so replicas are only added up for an update.

    Args:
        host: The model, built, with its optimizer.
        groups: Which batches make an update.
        epoch_batches: The batches of the first epoch that were trained on before.
        batches: Those of all epochs.
        takes_pairs: Whether the optimizer's method is ``apply_gradients`` (tf_keras), which gets pairs, else ``apply``.
        is_compiled: Whether XLA compiles the model's steps.
    """

    def __init__(
        self,
        host: Host,
        groups: BatchGroups,
        epoch_batches: int,
        batches: int,
        *,
        takes_pairs: bool,
        is_compiled: bool,
    ) -> None:
        import tensorflow as tf

        super().__init__(host, groups, epoch_batches, batches)
        self._tf = tf
        self._takes_pairs = takes_pairs
        self._is_compiled = is_compiled and host.num_replicas == 1
        self._call = _Call([], [], (), {})
        self._add_function: Callable[..., Any] = lambda *args: None
        self._apply_function: Callable[[], Any] = lambda: None
        with host.scope():
            self._weight = self._new_variable((), "float32")  # Of all batches in the sum.
            self._count = self._new_variable((), "float32")
            self._sums = {id(v): self._new_variable(v.shape, v.dtype) for v in host.model.trainable_variables}

    def _new_variable(self, shape: Any, dtype: Any) -> Any:
        tf = self._tf
        return tf.Variable(
            tf.zeros(shape, dtype),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            name="tf_hfwb_gradients",
        )

    @property
    def _method(self) -> str:
        return "apply_gradients" if self._takes_pairs else "apply"

    @property
    def _replacement(self) -> Callable[..., Any]:
        return self._add_pairs if self._takes_pairs else self._add

    # -- inside the graph ------------------------------------------------------------------------------------------

    def _part_of(self, data: Any) -> Part:
        weight = self._replica.weight = self._tf.constant(1.0) if self._weigh is None else self._weigh(data)
        if self.counts_all_replicas:
            context = self._tf.distribute.get_replica_context()
            weight = context.all_reduce(self._tf.distribute.ReduceOp.SUM, weight) / context.num_replicas_in_sync
        self._replica.added_weight = weight
        share = self._tf.math.divide_no_nan(weight, self._weight.read_value() + weight)
        return Part(self._count.read_value() < 1.0, share)

    def _add_pairs(self, grads_and_vars: Iterable[tuple[Any, Any]], *more: Any, **options: Any) -> None:
        """In place of ``apply_gradients``."""
        pairs = list(grads_and_vars)
        have_gradients = [gradient is not None for gradient, _ in pairs]
        self._note_addition()
        self._call = _Call([variable for _, variable in pairs], have_gradients, more, options)
        for gradient, variable in pairs:
            if gradient is not None and id(variable) in self._sums:
                self._add_to_sum(self._sums[id(variable)], gradient)
            elif gradient is not None:
                self._obstacle = f"{variable.name} was not among its trainable_variables when training began"
        self._weight.assign_add(self._replica.added_weight)
        self._count.assign_add(1.0)

    def _add(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """In place of ``apply``."""
        variables = self._host.model.trainable_variables if trainable_variables is None else trainable_variables
        self._add_pairs(zip(grads, variables, strict=True))

    def _add_to_sum(self, total: Any, gradient: Any) -> None:
        tf = self._tf
        has_slices = isinstance(gradient, tf.IndexedSlices)
        values = tf.cast(gradient.values if has_slices else gradient, total.dtype)
        if self._weigh is not None:
            values *= tf.cast(self._replica.weight, total.dtype)
        if not has_slices:
            total.assign_add(values)
        elif self._host.num_replicas == 1:
            total.scatter_add(tf.IndexedSlices(values, gradient.indices))
        else:  # A variable that each replica has for itself does not scatter.
            total.assign_add(tf.math.unsorted_segment_sum(values, gradient.indices, total.shape[0]))

    def _mean_of(self, variable: Any, weight: Any) -> Any:
        total = self._sums[id(variable)].read_value()
        return self._tf.math.divide_no_nan(total, self._tf.cast(weight, total.dtype))

    def _apply_in_replica(self, recorder: Any) -> Any:
        """Update by the mean, and begin a new sum."""
        tf, call = self._tf, self._call
        weight = self._weight.read_value()
        gradients = [
            self._mean_of(variable, weight) if has_gradient else None
            for variable, has_gradient in zip(call.variables, call.have_gradients, strict=True)
        ]
        if self._takes_pairs:
            self._apply_original(list(zip(gradients, call.variables, strict=True)), *call.more, **call.options)
        else:
            self._apply_original(gradients, call.variables)
        for variable, has_gradient in zip(call.variables, call.have_gradients, strict=True):
            if has_gradient:
                total = self._sums[id(variable)]
                total.assign(tf.zeros(total.shape, total.dtype))
        self._weight.assign(0.0)
        self._count.assign(0.0)
        return recorder.end_update()

    # -- around it -------------------------------------------------------------------------------------------------

    def _make(self, make: Callable[..., Any], recorder: StepRecorder) -> Any:
        model = self._host.model
        make(force=True)
        self._add_function = model.train_function

        def apply() -> Any:
            return model.distribute_strategy.run(self._apply_in_replica, args=(recorder,))

        if not model.run_eagerly:
            apply = self._tf.function(apply, autograph=False, jit_compile=self._is_compiled)
        self._apply_function = apply
        return self._add_function

    def _add_batch(self, place: int, *args: Any) -> Any:
        return self._add_function(*args)

    def _apply(self, outputs: Any) -> Any:
        return with_value(outputs, self._apply_function())
