"""The loss of every single step, recorded by the training graph to be read later.

Keras reports running means of the epoch. Their differences in float32 lose digits with every step (about 3e-4 after
5,000 steps), a NaN stays in them for the rest of the epoch, and an evaluation resets them. So one small variable
records the steps themselves: it is updated inside the train step by a few scalar operations.

The variable holds four counters and the losses of the last ``size`` training steps, newest last::

    [rate, train batches, train samples, test batches, test samples, loss, loss, ..., loss]

Counters run modulo 2**23, where float32 still counts exactly; only differences are used. Under a distribution
strategy the step itself adds up the replicas, and each keeps the same values. So reading needs no other replica: one
worker may read what the others do not.

On JAX, and on TensorFlow with one replica, the train function returns the variable's value with each step, with the
learning rate of that step in front. This saves the read, which would cost the training thread more than all the rest.
Otherwise the rate is -1, and the variable is read when a row is due.

Where several batches make one update (see ``accumulation/``), a step is an update, and its loss the mean of theirs, as
in transformers' ``Trainer``. It is counted when it has been made.

What a recorder has in common on both backends is here; :mod:`~tf_hfwb.keras_compat.step_seams` puts it into a model.
"""

from __future__ import annotations

import abc
import sys
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_hfwb.keras_compat.accumulation.gradient_accumulation import Part, accumulation_of
from tf_hfwb.keras_compat.epoch_lengths import is_end_of_data
from tf_hfwb.keras_compat.execution_hooks import ExecutionHooks
from tf_hfwb.keras_compat.fit_arguments import fit_arguments

FIRST_LOSS = 5  # The place of the first loss in the vector.
LOGS_KEY = "tf_hfwb_steps"  # Of what an execution hands out with its logs.
MODULUS = 2**23


@dataclass(frozen=True)
class Reading:
    """What happened between two captures.

    Attributes:
        train_losses: The loss of each training step, oldest first; at most as many as the recorder keeps.
        train_batches: Number of training steps.
        train_samples: Number of training samples.
        test_batches: Number of evaluation steps.
        test_samples: Number of evaluation samples.
    """

    train_losses: np.ndarray
    train_batches: int
    train_samples: int
    test_batches: int
    test_samples: int


def unused_value(size: int) -> np.ndarray:
    """The value of a recorder that has recorded nothing, not even a learning rate.

    Args:
        size: The number of losses that it keeps.
    """
    return np.concatenate([[-1.0], np.zeros(FIRST_LOSS - 1 + size)]).astype(np.float32)


def difference(before: np.ndarray, after: np.ndarray) -> Reading:
    """What happened between two captured values of the recorder's variable.

    Args:
        before: The earlier value, shape ``[5 + size]``.
        after: The later value.
    """
    # For four numbers plain Python is faster than NumPy, and this runs for every row.
    counts = [
        round((later - earlier) % MODULUS)
        for earlier, later in zip(before[1:FIRST_LOSS].tolist(), after[1:FIRST_LOSS].tolist(), strict=True)
    ]
    losses = after[FIRST_LOSS:]
    return Reading(
        train_losses=losses[max(0, len(losses) - counts[0]) :].astype(np.float64),
        train_batches=counts[0],
        train_samples=counts[1],
        test_batches=counts[2],
        test_samples=counts[3],
    )


def with_value(logs: Any, value: Any) -> Any:
    """The logs of a step with a value to hand out among them; as they are where there is none or no place for it."""
    return logs if value is None or not isinstance(logs, dict) else {**logs, LOGS_KEY: value}


def last_losses(captured: np.ndarray, steps: int) -> np.ndarray:
    """The losses of the last so many steps, or of as many as are kept; captured where there is one replica.

    Args:
        captured: The recorder's value.
        steps: How many, 1 or more.
    """
    return captured[FIRST_LOSS:][-steps:]


def rate_of(captured: np.ndarray) -> float | None:
    """The learning rate of the last step, if it was handed out with the value."""
    return float(captured[0]) if captured[0] >= 0 else None


class StepRecorder(abc.ABC):
    """Records the steps of one model; subclasses know where the variable lives. See ``step_seams.py``.

    Args:
        model: The model.
        size: The number of losses kept; look at least that often.
        rate: Gives the learning rate of the step that was just taken, inside the graph; None if nothing does.

    Attributes:
        hooks: What is called around the executions of the running fit, or of the last one.
        is_executing: Whether the train function is running.
        count: How much a batch of a replica counts in the loss of a step and in its update, from what the train step
            gets; None: as many as its samples. Only TensorFlow has replicas.
        carried: On JAX, while the listeners are called: the lists of the state that the next step gets.
    """

    def __init__(self, model: Any, size: int, rate: Callable[[], Any] | None) -> None:
        self.size = size
        self.hooks = ExecutionHooks()
        self.is_executing = False
        self.count: Callable[[Any], Any] | None = None
        self._last_logs: dict[str, Any] = {}
        self.carried: Any = None
        self._model = weakref.ref(model)
        self._rate = rate
        self._latest: Any = None
        self._running: str | None = None
        self._batch_size: Any = 1
        self._recorded = False
        self._part: Part | None = None  # Of the batch in its update; None where each batch is one.
        self._counts_updates = False  # Whether losses of such batches are recorded.

    @abc.abstractmethod
    def capture(self) -> Any:
        """The variable's value as of now, for :func:`numpy.asarray`. Nothing is synchronised on TensorFlow."""

    @property
    def in_metrics(self) -> Any:
        """The variable, where it is one of the model's metric variables; else None."""
        return None

    def process_generators(self) -> dict[str, np.ndarray]:
        """The states of the backend's own random generators by name, where it has any; :class:`.Start` takes them."""
        return {}

    def prepare_checkpoints(self) -> None:  # noqa: B027 - TensorFlow needs nothing
        """Checkpoints will be taken of this fit: keep what they need of the process's generators."""

    def restore(self, value: np.ndarray) -> None:
        """Continue from a captured value; the oldest losses are left out if that recorder kept more of them."""
        losses = value[FIRST_LOSS:][-self.size :]
        padding = np.zeros(self.size - len(losses), np.float32)
        self._assign(np.concatenate([[-1.0], value[1:FIRST_LOSS], padding, losses]).astype(np.float32))
        self._latest, self._last_logs = None, {}

    @property
    def has_run(self) -> bool:
        """Whether the train function has run in this fit, or in the last one."""
        return bool(self._last_logs)

    def stop(self) -> None:
        """End the fit without another step, even if Keras has begun its batch; that batch is not trained on."""
        model: Any = self._model()
        self.hooks.is_stopped = model.stop_training = True

    @abc.abstractmethod
    def _assign(self, value: np.ndarray) -> None: ...

    @property
    def reported(self) -> Collection[str]:
        """The names of the metrics that the train step reports; empty before the first step of a fit."""
        return set(_names(self._last_logs))

    def latest(self) -> Any:
        """The value after the last training step: what the step handed out, or else read now."""
        return self.capture() if self._latest is None else self._latest

    @property
    def handed_out(self) -> Any:
        """What the last training step handed out, for any thread; None where the variable must be read."""
        return self._latest

    @property
    def last_logs(self) -> Mapping[str, Any]:
        """What the last execution has reported, for any thread; empty before the first step of a fit."""
        return self._last_logs

    @property
    def hands_out_rates(self) -> bool:
        """Whether :func:`rate_of` the latest value is known."""
        return self._latest is not None and self._rate is not None

    def take_weight(self) -> Any:
        """Inside the graph: what this replica counts by the mean of all replicas; None where nobody knows it."""
        return None

    @abc.abstractmethod
    def _record(self, loss: Any, samples: Any, *, training: bool) -> None: ...

    def _hand_out(self, outputs: Any) -> Any:
        """What a step returns, with the value among its logs; without it where it must be read later."""
        return outputs

    @abc.abstractmethod
    def _batch_size_of(self, data: Any) -> Any: ...

    def watch_step(self, step: Callable[..., Any], kind: str) -> Callable[..., Any]:
        """Wrap a ``train_step`` or ``test_step``."""

        def observed_step(*args: Any) -> Any:
            batch_size = self._batch_size_of(args[-1])
            accumulation = accumulation_of(self._model()) if kind == "train" else None
            self._part = None if accumulation is None else accumulation.begin_batch(args[-1])
            # Replicas are traced in turns, which change where they are added up, as above.
            self._running, self._batch_size, self._recorded = kind, batch_size, False
            is_update = kind == "train" and self._part is None
            try:
                outputs = step(*args)
                if not self._recorded:
                    outputs = self._record_reported(outputs)
            finally:
                self._running = None
            if is_update and self._recorded and self._watches_function():
                return self._hand_out(outputs)
            return outputs

        observed_step.recorder, observed_step.original = self, step  # type: ignore[attr-defined]
        return observed_step

    def watch_tracker(self, update_state: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the ``update_state`` of a loss tracker."""

        def observed_update(values: Any, *args: Any, **kwargs: Any) -> Any:
            if self._running is not None and not self._recorded:
                self._recorded = True
                self._record(values, self._batch_size, training=self._running == "train")
            return update_state(values, *args, **kwargs)

        observed_update.recorder, observed_update.original = self, update_state  # type: ignore[attr-defined]
        return observed_update

    def watch_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a train function: take out of the logs what the step hands out, and tell the listeners."""
        self._latest = None  # Another function may have trained since.

        def observed_function(*args: Any) -> Any:
            hooks = self.hooks
            if hooks.before:
                self._call_before(args)
            if hooks.is_stopped:  # Keras looks at stop_training as soon as this returns.
                return self._outputs_of_no_step(args)
            if hooks.is_cut_short:
                self._skip_batches(args)
                return self._outputs_of_no_step(args)
            self.is_executing = True
            try:
                outputs = function(*args)
            except Exception as error:
                hooks.has_data_ended = is_end_of_data(error)
                raise
            finally:
                self.is_executing = False
            logs = self._last_logs = outputs if isinstance(outputs, dict) else self._logs_of(outputs)
            self._latest = logs.pop(LOGS_KEY, None)
            for hook in hooks.after:
                hook(logs)
            self.carried = None
            return outputs

        observed_function.recorder, observed_function.original = self, function  # type: ignore[attr-defined]
        return observed_function

    def renew_step(self, kind: str) -> None:
        """Wrap a step of the model anew, for another function that is made of it.

        JAX knows a step that it has traced, and would not see what has changed since, as when there is another
        optimizer.
        """
        model, name = self._model(), f"{kind}_step"
        step = getattr(model, name)
        if getattr(step, "recorder", None) is self:
            setattr(model, name, self.watch_step(step.original, kind))

    def watch_test_maker(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``make_test_function``, which every evaluation calls."""

        def observed_maker(*args: Any, **kwargs: Any) -> Any:
            model: Any = self._model()
            if model.test_function is None or any([*args, *kwargs.values()]):
                self.renew_step("test")
            return make(*args, **kwargs)

        observed_maker.original = make  # type: ignore[attr-defined]
        return observed_maker

    def watch_maker(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``make_train_function``, which every fit calls before its callbacks begin."""

        def observed_maker(*args: Any, **kwargs: Any) -> Any:
            # A callback may call train_on_batch in the middle of a fit, and a loop of the user's does at every step.
            is_one_batch = sys._getframe(1).f_code.co_name == "train_on_batch"
            if not is_one_batch or not (self.hooks.is_own_loop or fit_arguments(self._model())):
                self.begin_hooks()
            model: Any = self._model()
            if model.train_function is None or any([*args, *kwargs.values()]):
                self.renew_step("train")
            return make(*args, **kwargs)

        observed_maker.original = make  # type: ignore[attr-defined]
        return observed_maker

    def begin_hooks(self, *, is_own_loop: bool = False) -> None:
        """Forget the hooks of the fit before, and tell it if it has not ended.

        Args:
            is_own_loop: See :class:`ExecutionHooks`.
        """
        for hook in [*self.hooks.when_abandoned]:
            hook()
        self.hooks, self._last_logs, self.carried = ExecutionHooks(is_own_loop=is_own_loop), {}, None
        self._follow_data()

    @abc.abstractmethod
    def _follow_data(self) -> None:
        """Note what is to be known of the data of a fit, which has read none yet."""

    def _call_before(self, args: tuple[Any, ...]) -> None:
        for hook in self.hooks.before:
            hook()

    @abc.abstractmethod
    def _skip_batches(self, args: tuple[Any, ...]) -> None:
        """Leave out the batches of the data that are not to be trained on, where Keras has not read them."""

    def _logs_of(self, outputs: Any) -> Any:
        """The logs in what a train function returned that are not themselves it."""
        return outputs

    def _outputs_of_no_step(self, args: tuple[Any, ...]) -> Any:
        """What the train function would return if it had changed nothing."""
        return self._last_logs

    def _watches_function(self) -> bool:
        """Whether the train function that is being traced takes the value out of the logs again."""
        return getattr(getattr(self._model(), "train_function", None), "recorder", None) is self

    def _record_reported(self, outputs: Any) -> Any:
        """Record the loss that a custom step without a loss tracker reports, and return what it returned."""
        loss = self._reported_loss(outputs)
        if loss is not None:
            self._recorded = True
            self._record(loss, self._batch_size, training=self._running == "train")
        return outputs

    def _reported_loss(self, logs: Any) -> Any:
        return logs.get("loss") if isinstance(logs, dict) else None


def _names(logs: Mapping[str, Any]) -> Iterator[str]:
    """The names in logs and in those that are nested in them, of which Keras 3 knows the inner ones alone."""
    for name, value in logs.items():
        yield name
        if isinstance(value, Mapping):
            yield from _names(value)
