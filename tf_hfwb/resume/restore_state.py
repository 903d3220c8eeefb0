"""A checkpoint's state of a training, put into a model whose next ``fit`` then continues that training.

Everything is compared before anything is changed: a checkpoint that does not fit leaves the model as it was.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.errors import CorruptCheckpointError, SettingError, StateMismatchError
from tf_hfwb.keras_compat import Host, Start, is_process_state
from tf_hfwb.resume.resume_position import Position, Resumption, clear_resumption, set_resumption
from tf_hfwb.resume.state_tensors import (
    GLOBAL_GENERATOR,
    NUMPY_GENERATOR,
    PROCESS_GENERATORS,
    PYTHON_GENERATOR,
    RECORDER,
    TENSORS,
    Arrays,
    Assignments,
    describe_form,
    match_tensors,
    read_state_tensors,
    with_prefix,
)
from tf_hfwb.resume.trainer_state import TrainerState
from tf_hfwb.resume.weight_restoring import files_of, match_weights

_logger = logging.getLogger("tf_hfwb")

_COUNTERS = 5  # A rate and four counters, in front of the losses that the step recorder keeps.
_KEYS = 624  # Of the Mersenne Twister, NumPy's and Python's generator.


def restore_state(host: Host, checkpoint: Checkpoint, position: Position | None = None) -> Position:
    """Put a checkpoint's state into a model, and let the model's next ``fit`` continue from there.

    Args:
        host: The model, compiled and built as it was when the checkpoint was written.
        checkpoint: The checkpoint, verified.
        position: Where the next fit begins, if that is not as the checkpoint says.

    Raises:
        NotACheckpointError: The checkpoint has the model alone.
        StateMismatchError: A tensor is missing, unknown or of another shape. Nothing has been changed.
        CorruptCheckpointError: A file is missing or cannot be read, or holds what no save writes. Nothing has been
            changed.
    """
    where = str(checkpoint.path)
    state = TrainerState.read(checkpoint)
    state.check_resumable(checkpoint.path)
    start = state.position if position is None else position
    tensors = read_state_tensors(checkpoint)
    files = files_of(host, checkpoint)
    _check_learned(where, state.learned, files.digests)
    weights = match_weights(host, checkpoint, files, tensors)
    numpy_state = _numpy_state(where, state, tensors)
    python_state = _python_state(where, state, tensors)
    recorder = _recorder_values(where, tensors)
    metrics = with_prefix(tensors, "metrics/")
    generators = _generators(where, tensors)
    assignments = [
        *weights,
        *match_tensors(where, "optimizer", host.optimizer_variables(), with_prefix(tensors, "optimizer/")),
    ]
    host.keep_random_state()
    if start.batch:
        _check_metrics(where, host, metrics)
    assignments += _match_generators(where, host, tensors)

    # Everything fits. From here on the model is changed.
    for variable, value in assignments:
        variable.assign(value)
    host.use_assigned_weights()
    np.random.set_state(numpy_state)
    random.setstate(python_state)
    resumption = Resumption(start, state.run, state.callbacks, checkpoint.path)
    set_resumption(host.model, resumption)
    host.begin_next_fit_at(_NextFit(host, resumption, host.model.optimizer, recorder, metrics, generators).start())
    return resumption.position


@dataclass(frozen=True)
class _NextFit:
    """The fit that continues a restored training.

    Attributes:
        host: The model.
        resumption: What is restored.
        optimizer: The model's optimizer, which has been given its state.
        recorder: The values of the step recorder.
        metrics: The metrics of the epoch so far.
        generators: The states of the backend's own random generators.
    """

    host: Host
    resumption: Resumption
    optimizer: Any
    recorder: np.ndarray
    metrics: Arrays
    generators: Arrays

    def start(self) -> Start:
        position = self.resumption.position
        return Start(
            epoch=position.epoch,
            batch=position.batch,
            batches=position.batches,
            prepare=self._prepare,
            restore_metrics=self._restore_metrics,
            is_left=self._has_steps_left,
            has_trained=lambda: self.host.record_steps().has_run,
            over=lambda: clear_resumption(self.host.model),
            generators=self.generators,
        )

    def _prepare(self) -> None:
        if self.host.model.optimizer is not self.optimizer:
            raise SettingError(
                "optimizer",
                type(self.host.model.optimizer).__name__,
                expected=f"the one that restore has given the state of {self.resumption.source}: compile has made "
                "another since",
                advice="Call restore again, after compile; or load_model, to begin anew with the weights.",
            )
        self.resumption.begin()
        # The steps of other fits and evaluations since the restoration are not part of this training.
        self.host.record_steps().restore(self.recorder)

    def _restore_metrics(self) -> None:
        where = str(self.resumption.source)
        for variable, value in match_tensors(where, "metrics", self.host.metric_variables(), self.metrics):
            variable.assign(value)

    def _has_steps_left(self) -> bool:
        self.resumption.warn_of_dropped_states()
        return not self.host.record_steps().hooks.is_stopped


def _check_learned(where: str, saved: Mapping[str, str] | None, current: Mapping[str, str]) -> None:
    """Refuse layers with other vocabularies and the like; a checkpoint of an older version does not hold digests."""
    if saved is None:
        return
    names = sorted(name for name in {*saved, *current} if saved.get(name) != current.get(name))
    if names:
        raise StateMismatchError(
            f"What layers of the model have learned outside their weights is not what it was in {where}: "
            f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}. Expected the same vocabularies and boundaries "
            "as when it was written. Adapt the layers to the data of then, or begin with load_model, which has them."
        )


def _check_metrics(where: str, host: Host, metrics: Arrays) -> None:
    """Compare the metrics of an epoch that continues, if the model has all of its metrics already."""
    variables = host.metric_variables()
    if len(variables) == len(metrics):  # Some are only made by the first step, and compared then.
        match_tensors(where, "metrics", variables, metrics)


# -- random generators -------------------------------------------------------------------------------------------------


def _match_generators(where: str, host: Host, tensors: Arrays) -> Assignments:
    """The states of the layers' generators and of the global one."""
    variables = host.random_variables()
    of_process = (NUMPY_GENERATOR, PYTHON_GENERATOR, GLOBAL_GENERATOR)
    states = {name: value for name, value in with_prefix(tensors, "random/").items() if name not in of_process}
    if len(states) > len(variables):
        states = _of_first_replica(variables, states)
    assignments = match_tensors(where, "random generators", variables, states)
    if GLOBAL_GENERATOR in tensors:
        variable = {GLOBAL_GENERATOR: host.global_random_variable(make=True)}
        state = {GLOBAL_GENERATOR: tensors[GLOBAL_GENERATOR]}
        assignments += match_tensors(where, "global random generator", variable, state)
    return assignments


def _of_first_replica(variables: Iterable[str], states: Arrays) -> Arrays:
    """The states of each layer's first replica, of a checkpoint that has one for each replica, as they had before.

    States that are not of that pattern are returned as they are.
    """
    names = [*variables]
    if not names or len(states) % len(names):
        return states
    first = sorted(states)[:: len(states) // len(names)]
    return {name: states[saved] for name, saved in zip(names, first, strict=True)}


def _generators(where: str, tensors: Arrays) -> Arrays:
    """The states that a fit takes when it begins, and in its first pass over the data."""
    names = with_prefix(tensors, PROCESS_GENERATORS)
    states = {name: _check_tensor(where, tensors, name, "uint8") for name in names}
    for name, state in states.items():
        if name.endswith(("/numpy", "/python")) and not is_process_state(state):
            raise _unusable(where, name, f"it is {describe_form(state)}", "a state of a Mersenne twister")
    return states


def _numpy_state(where: str, state: TrainerState, tensors: Arrays) -> tuple[Any, ...]:
    """The state of NumPy's generator, as ``np.random.set_state`` takes it."""
    keys = _check_tensor(where, tensors, NUMPY_GENERATOR, f"uint32[{_KEYS}]")
    algorithm, *others = state.numpy
    return (algorithm, keys, *others)


def _python_state(where: str, state: TrainerState, tensors: Arrays) -> tuple[Any, ...]:
    """The state of Python's generator, as ``random.setstate`` takes it."""
    keys = _check_tensor(where, tensors, PYTHON_GENERATOR, f"uint32[{_KEYS + 1}]")
    if keys[-1] > _KEYS:  # The last one is the position among the keys.
        raise _unusable(where, PYTHON_GENERATOR, f"its last number is {keys[-1]}", f"{_KEYS} at most")
    version, gauss_next = state.python
    return version, tuple(keys.tolist()), gauss_next


# -- tensors -----------------------------------------------------------------------------------------------------------


def _recorder_values(where: str, tensors: Arrays) -> np.ndarray:
    """What the step recorder continues with: a rate, its counters, and losses."""
    values = _check_tensor(where, tensors, RECORDER, "float32")
    if values.ndim == 1 and len(values) >= _COUNTERS:
        counters = values[1:_COUNTERS]
        if (np.isfinite(counters) & (counters >= 0)).all():
            return values
    raise _unusable(where, RECORDER, f"it is {describe_form(values)} {values}", "four counters, and losses")


def _check_tensor(where: str, tensors: Arrays, name: str, expected: str) -> np.ndarray:
    """The tensor of that name, whose form must begin as expected, such as ``float32`` or ``uint32[624]``."""
    tensor = tensors.get(name)
    if tensor is None:
        raise _unusable(where, name, "it is missing", expected)
    if not describe_form(tensor).startswith(expected):
        raise _unusable(where, name, f"it is {describe_form(tensor)}", expected)
    return tensor


def _unusable(where: str, name: str, found: str, expected: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"{name} of {TENSORS} in {where} cannot be used: {found}. Expected {expected}. Use another checkpoint."
    )
