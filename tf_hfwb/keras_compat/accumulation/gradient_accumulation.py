"""One execution of the train function as one update of several batches.

tf_keras does not accumulate gradients, and Keras 3 does so from one epoch into the next. Here the optimizer's method
that applies gradients is replaced by one that adds them up, so that the train step itself changes nothing but that sum.
The train function runs this step once for each batch of a group, and then hands the mean to the optimizer's own method,
which unscales, clips, decays and updates as always.

So for everything else an update is what one batch would be: Keras counts updates, its batch hooks are called once for
each, and between two executions there is no sum that a checkpoint would have to hold. A gradient that is not finite
makes the whole sum so, and loss scaling skips the update.
"""

from __future__ import annotations

import abc
import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.accumulation.batch_groups import BatchGroups
from tf_hfwb.keras_compat.accumulation.batch_weights import batch_weight
from tf_hfwb.keras_compat.epoch_lengths import is_end_of_data
from tf_hfwb.keras_compat.fit_arguments import fit_arguments

if TYPE_CHECKING:
    from tf_hfwb.keras_compat.host_base import Host
    from tf_hfwb.keras_compat.loss_recorder import StepRecorder


_NOTHING_ADDED = "its train step does not hand gradients to model.optimizer"


class Part(NamedTuple):
    """What a batch is in its update, inside the graph.

    Attributes:
        is_first: Whether it is the first batch of the update.
        share: Its share in the mean of all batches of the update up to this one.
    """

    is_first: Any
    share: Any


class GradientAccumulation(abc.ABC):
    """The updates of one ``fit``, each made of a group of batches.

    Args:
        host: The model, built, with its optimizer.
        groups: Which batches make an update.
        epoch_batches: The batches of the first epoch that were trained on before.
        batches: Those of all epochs.

    Attributes:
        groups: The same.
        epoch_batches: The batches of the running epoch that were trained on, as of the last update.
        batches: Those of all epochs since the very first start.
        counts_all_replicas: Whether a batch weighs as its parts in all replicas do together.
        on_substep_end: Called after each batch of an update but the last; None where nobody wants to know.
    """

    def __init__(self, host: Host, groups: BatchGroups, epoch_batches: int, batches: int) -> None:
        self.groups = groups
        self.epoch_batches = epoch_batches
        self.batches = batches
        self.counts_all_replicas = False
        self.on_substep_end: Callable[[], None] | None = None
        self._apply_original: Callable[..., Any] = lambda *args: None
        self._host = host
        # The weight of a batch in the mean, inside the graph; None where all weigh the same.
        self._weigh = batch_weight(host.model)
        self._epoch_iterator: Any = None  # Of Keras 3, in the running fit.
        # Why this model cannot accumulate. It is raised outside the graph: TensorFlow makes an error of its own of any
        # that is raised within.
        self._obstacle = _NOTHING_ADDED
        self._replica = threading.local()  # TensorFlow traces each replica on a thread of its own.

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Accumulate in the ``fit`` that is called within this context."""
        model, optimizer = self._host.model, self._host.model.optimizer
        self._replace_method(optimizer)
        model.train_function = None
        _running[model] = self
        try:
            yield
        finally:
            del _running[model]
            self._put_back_method(optimizer)
            model.train_function = None

    @property
    @abc.abstractmethod
    def _method(self) -> str:
        """The name of the optimizer's method that applies gradients."""

    @property
    def _replacement(self) -> Callable[..., Any]:
        """What adds up gradients in place of applying them."""
        return self._add

    @abc.abstractmethod
    def _add(self, *args: Any, **kwargs: Any) -> Any: ...

    def _replace_method(self, optimizer: Any) -> None:
        self._apply_original = getattr(optimizer, self._method)
        # Keras would track what is set the usual way, and save what hangs on it.
        object.__setattr__(optimizer, self._method, self._replacement)

    def _put_back_method(self, optimizer: Any) -> None:
        object.__delattr__(optimizer, self._method)

    # -- inside the graph ------------------------------------------------------------------------------------------

    def begin_batch(self, data: Any) -> Part:
        """A train step with this batch is traced, or run eagerly."""
        self._replica.additions = 0
        return self._part_of(data)

    @abc.abstractmethod
    def _part_of(self, data: Any) -> Part: ...

    def _note_addition(self) -> None:
        self._replica.additions += 1
        if self._replica.additions > 1:
            self._obstacle = "its train step makes several updates of a batch"
        elif self._obstacle == _NOTHING_ADDED:
            self._obstacle = ""

    # -- around it -------------------------------------------------------------------------------------------------

    def train_function(self, make: Callable[..., Any], recorder: StepRecorder) -> Callable[..., Any]:
        """A train function of which each execution makes as many updates as the model's would take batches.

        Args:
            make: The model's ``make_train_function``.
            recorder: Records the losses.
        """
        self._epoch_iterator = fit_arguments(self._host.model).get("epoch_iterator")
        is_single = self._host.steps_per_execution == 1
        with self._host.one_batch_per_call():
            function = self._make(make, recorder)

        def execute(*args: Any) -> Any:
            if is_single:
                return self._run_group(args)
            number = self._host.steps_per_execution
            with self._host.one_batch_per_call():
                return self._run_groups(args, number)

        trace = getattr(function, "get_concrete_function", None)
        if trace is not None:
            execute.get_concrete_function = trace  # type: ignore[attr-defined]
        return execute

    @abc.abstractmethod
    def _make(self, make: Callable[..., Any], recorder: StepRecorder) -> Any:
        """Make the functions that add a batch and that apply the mean; return the first."""

    def _run_groups(self, args: tuple[Any, ...], number: int) -> Any:
        outputs = self._run_group(args)
        for _ in range(number - 1):
            if self.epoch_batches == self.groups.batches:
                break
            args = self._next_arguments(args, outputs)
            try:
                outputs = self._run_group(args)
            except Exception as error:
                if not is_end_of_data(error):
                    raise
                break
        return outputs

    def _run_group(self, args: tuple[Any, ...]) -> Any:
        if self.epoch_batches == self.groups.batches:  # A new epoch begins.
            self.epoch_batches = 0
        size = self.groups.size
        if self.groups.batches is not None:
            size = min(size, self.groups.batches - self.epoch_batches)
        outputs: Any = None
        for place in range(size):
            try:
                outputs = self._add_batch(place, *args)
            except Exception as error:
                if not is_end_of_data(error):
                    raise
                if place == 0:
                    self.epoch_batches = 0
                    raise
                break
            args = self._next_arguments(args, outputs)
            self.epoch_batches += 1
            self.batches += 1
            if place and self._epoch_iterator is not None:
                # At the end of a loader Keras begins the next pass. It has counted one batch for the group.
                keras3_private.add_steps_seen(self._epoch_iterator, 1)
            if self.on_substep_end is not None and place < size - 1:
                self.on_substep_end()
        if self._obstacle:
            raise SettingError(
                "gradient_accumulation_steps",
                self.groups.size,
                expected=f"1 for {type(self._host.model).__name__}, because {self._obstacle}",
                advice="Leave it out.",
            )
        return self._apply(outputs)

    @abc.abstractmethod
    def _add_batch(self, place: int, *args: Any) -> Any:
        """Run the train step; ``args`` are those of Keras's train function."""

    @abc.abstractmethod
    def _apply(self, outputs: Any) -> Any:
        """Hand the mean to the optimizer; return the outputs of the execution."""

    def _next_arguments(self, args: tuple[Any, ...], outputs: Any) -> tuple[Any, ...]:
        """The arguments of the next call."""
        return args


_running: weakref.WeakKeyDictionary[Any, GradientAccumulation] = weakref.WeakKeyDictionary()


def accumulation_of(model: Any) -> GradientAccumulation | None:
    """The accumulation that is running; None of a model whose batches are updates."""
    return _running.get(model)
