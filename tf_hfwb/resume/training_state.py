"""The whole state of a training as one value: taken between two steps, written later, put back in another process.

What belongs to it: the weights, the optimizer (slots, step, learning rate, loss scale, moving averages), the random
generators (layers', TensorFlow's and Keras's global ones, NumPy's and Python's), the metric accumulators of the running
epoch, the recorded losses, the state of the callbacks, and the position in the data.

It lies in a checkpoint's directory as the model's own files, ``training_state.safetensors`` and ``trainer_state.json``;
``docs/checkpoint-format.md`` describes them. Putting back is strict: everything is compared before anything is changed.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_hfwb import json_text
from tf_hfwb.checkpoint.store import Checkpoint, Draft
from tf_hfwb.errors import CorruptCheckpointError, SettingError, StateMismatchError
from tf_hfwb.keras_compat import Host, Start, name_variables
from tf_hfwb.masking import masked
from tf_hfwb.resume.resume_position import Position, Resumption, clear_resumption, set_resumption
from tf_hfwb.resume.trainer_state import FACTS, FORMAT, TrainerState

_logger = logging.getLogger("tf_hfwb")

TENSORS = "training_state.safetensors"

Arrays = dict[str, np.ndarray]

_SHARED = "random/global"
_DRAWN = ("random/numpy", "random/python", _SHARED)
_COUNTERS = 5  # A rate and four counters, in front of the losses that the step recorder keeps.


@dataclass
class TrainingState:
    """A state that was taken; values may still be tensors, whose buffers it holds.

    Attributes:
        files: The model's files, of ``Host.model_files``.
        weights: The model's weights, and what its layers compute when they are saved.
        others: Everything else that is a tensor.
        facts: Everything else.
        callbacks: The state of each callback; called on the thread that writes. A state's ``log_history`` is a list of
            rows that are JSON already.
    """

    files: Any
    weights: dict[str, Any]
    others: dict[str, Any]
    facts: dict[str, Any]
    callbacks: Mapping[str, Callable[[], dict[str, Any]]]

    def write(self, draft: Draft, previous: Checkpoint | None) -> None:
        """Write the state into a draft; each tensor is let go as soon as it is written.

        Args:
            draft: Where to.
            previous: An earlier checkpoint whose files may be linked.
        """
        self.files.write(draft, {name: np.asarray(value) for name, value in self.weights.items()}, previous)
        self.weights.clear()
        draft.write_tensors(TENSORS, {name: np.asarray(value) for name, value in self.others.items()})
        self.others.clear()
        states = {name: state() for name, state in self.callbacks.items()}
        rows = ",\n    ".join(json_text.line(row) for state in states.values() for row in state.pop("log_history", ()))
        # The run is found again by what it is called, whatever that looks like.
        known = {**masked({**self.facts, "callbacks": states}), "run": self.facts.get("run")}
        facts = json_text.dumps(known, indent=2).removesuffix("\n}")
        with draft.open(FACTS) as file:
            file.write(f'{facts},\n  "log_history": [\n    {rows}\n  ]\n}}\n'.encode())


class StateCapture:
    """Takes the state of one model's training, again and again.

    Args:
        host: The model; compiled and built.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        host.snapshot(())  # Tries, before the first save, whether reads can be trusted.
        self.files = host.model_files()
        others = host.other_optimizers()
        if others:
            _logger.warning(
                "%s has further optimizers (%s), which are not in its checkpoints: only model.optimizer is.",
                type(host.model).__name__,
                ", ".join(others),
            )
        self._fixed = {**host.optimizer_variables(), **host.random_variables(), **_unsaved_weights(host, self.files)}

    def take(self, facts: Mapping[str, Any]) -> TrainingState:
        """Take the state as of now: between two steps, or at the end of an epoch.

        Args:
            facts: More for ``trainer_state.json``.
        """
        recorder = self._host.record_steps()
        variables = {**self._fixed, **self._host.metric_variables()}
        shared = self._host.global_random_variable()
        if shared is not None:
            variables[_SHARED] = shared
        weights = self.files.variables
        values = self._host.snapshot([*weights.values(), *variables.values()])
        others = dict(zip(variables, values[len(weights) :], strict=True))
        others["recorder"] = recorder.capture()
        algorithm, keys, place, has_gauss, gauss = np.random.get_state()
        others["random/numpy"] = np.array(keys)
        version, state, gauss_next = random.getstate()
        others["random/python"] = np.array(state, np.uint32)
        drawn = {"numpy": [algorithm, place, has_gauss, gauss], "python": [version, gauss_next]}
        return TrainingState(
            files=self.files,
            weights=dict(zip(weights, values, strict=False)) | self.files.compute_values(),
            others=others,
            facts={"format": FORMAT, **facts, "random": drawn, "learned": self.files.digests},
            callbacks={name: state() for name, state in recorder.fit.participants.items()},
        )


def position_of(checkpoint: Checkpoint) -> Position:
    """Where a checkpoint was taken."""
    return TrainerState.read(checkpoint).position


def put_back(host: Host, checkpoint: Checkpoint, position: Position | None = None) -> Position:
    """Put a checkpoint's state back into a model, and let the model's next ``fit`` go on from there.

    Args:
        host: The model; compiled and built, as it was when the checkpoint was written.
        checkpoint: The checkpoint, verified.
        position: Where the next fit begins, if that is not as the checkpoint says.

    Raises:
        StateMismatchError: A tensor is missing, unknown or of another shape.
        CorruptCheckpointError: A file is missing or cannot be read, or holds what is not written there. Like the other
            one it is raised before anything is changed.
    """
    state = TrainerState.read(checkpoint)
    where = str(checkpoint.path)
    others = _read_others(checkpoint)
    files = host.model_files()
    _compare_learned(where, state.learned, files.digests)
    weights = files.read(checkpoint)
    drawn = _drawn(state, others, where)
    lost = _losses(others, where)
    metrics = _group(others, "metrics/")
    pairs = [
        *_matched(where, "weights", files.variables, weights),
        *_matched(where, "optimizer", host.optimizer_variables(), _group(others, "optimizer/")),
        *_matched(where, "other weights", _unsaved_weights(host, files), _group(others, "weights/")),
    ]
    host.keep_random_state()
    if state.position.batch:
        known = host.metric_variables()
        if len(known) == len(metrics):  # Else some are made by the first step only, and compared then.
            _matched(where, "metrics", known, metrics)
    generators, states = host.random_variables(), _group(others, "random/", without=_DRAWN)
    if len(states) != len(generators):
        states = _on_replicas(where, host.num_replicas, generators, states)
    pairs += _matched(where, "random generators", generators, states)
    if _SHARED in others:
        shared = {_SHARED: host.global_random_variable(make=True)}
        pairs += _matched(where, "global random generator", shared, {_SHARED: others[_SHARED]})
    # From here on everything fits.
    for variable, value in pairs:
        variable.assign(value)
    host.use_assigned_weights()
    numpy, python = drawn
    np.random.set_state(numpy)
    random.setstate(python)
    position = position or state.position

    def restore_metrics() -> None:
        for variable, value in _matched(where, "metrics", host.metric_variables(), metrics):
            variable.assign(value)

    resumption = Resumption(position, state.run, state.callbacks, checkpoint.path)
    set_resumption(host.model, resumption)
    restored_optimizer = host.model.optimizer

    def prepare() -> None:
        if host.model.optimizer is not restored_optimizer:
            raise SettingError(
                "optimizer",
                type(host.model.optimizer).__name__,
                expected=f"the one that restore has given the state of {where}: compile has made another since",
                advice="Call restore again, after compile; or load_model, to begin anew with the weights.",
            )
        # Whatever was trained or evaluated since is no part of this training.
        host.record_steps().restore(lost)

    def is_left() -> bool:
        fit = host.record_steps().fit
        resumption.warn_of_what_nobody_takes(fit.participants)
        return not fit.is_stopped

    host.begin_next_fit_at(
        Start(
            epoch=position.epoch,
            batch=position.batch,
            batches=position.batches,
            prepare=prepare,
            restore_metrics=restore_metrics,
            is_left=is_left,
            has_trained=lambda: host.record_steps().has_run,
            over=lambda: clear_resumption(host.model),
        )
    )
    return position


def weights_in(host: Host, checkpoint: Checkpoint) -> list[tuple[Any, np.ndarray]]:
    """Each weight of a model with its value in a checkpoint.

    Raises:
        StateMismatchError: They do not fit.
        CorruptCheckpointError: A file is missing or cannot be read.
    """
    files, where = host.model_files(), str(checkpoint.path)
    pairs = _matched(where, "weights", files.variables, files.read(checkpoint))
    unsaved = _unsaved_weights(host, files)
    if unsaved:
        pairs += _matched(where, "other weights", unsaved, _group(_read_others(checkpoint), "weights/"))
    return pairs


def metrics_of(checkpoint: Checkpoint) -> Mapping[str, float]:
    """What was known of the step at which a checkpoint was taken, under the names of rows."""
    return TrainerState.read(checkpoint).metrics


def load_weights(host: Host, checkpoint: Checkpoint) -> None:
    """Put only the weights of a checkpoint into a model.

    Raises:
        StateMismatchError: They do not fit; nothing has been changed then.
        CorruptCheckpointError: A file is missing or cannot be read.
    """
    for variable, value in weights_in(host, checkpoint):
        variable.assign(value)
    host.use_assigned_weights()


def _read_others(checkpoint: Checkpoint) -> Arrays:
    if TENSORS not in checkpoint.files:
        raise CorruptCheckpointError(
            f"{checkpoint.path} holds no state of a training: its manifest does not name {TENSORS}. Expected a "
            "checkpoint of a training. Use another one."
        )
    return checkpoint.read_tensors(TENSORS)


def _drawn(state: TrainerState, tensors: Arrays, where: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The states of NumPy's and Python's generators, as these take them."""
    keys = _tensor(where, tensors, "random/numpy", "uint32", [624])
    mixed = _tensor(where, tensors, "random/python", "uint32", [625])
    if mixed[-1] > 624:
        raise _unusable(where, "random/python", f"its last number is {mixed[-1]}", "624 at most")
    algorithm, *rest = state.numpy
    version, gauss_next = state.python
    return (algorithm, keys, *rest), (version, tuple(mixed.tolist()), gauss_next)


def _losses(tensors: Arrays, where: str) -> np.ndarray:
    """What the step recorder goes on from."""
    value = _tensor(where, tensors, "recorder", "float32", None)
    counters = value[1:_COUNTERS] if value.ndim == 1 else value
    if value.ndim != 1 or len(value) < _COUNTERS or not (np.isfinite(counters) & (counters >= 0)).all():
        raise _unusable(where, "recorder", f"it is {_form(value)} {value}", "four counters, and losses")
    return value


def _tensor(where: str, tensors: Arrays, name: str, dtype: str, shape: list[int] | None) -> np.ndarray:
    found = tensors.get(name)
    expected = f"{dtype}{'' if shape is None else shape}"
    if found is None or not _form(found).startswith(expected):
        raise _unusable(where, name, "it is missing" if found is None else f"it is {_form(found)}", expected)
    return found


def _unusable(where: str, name: str, found: str, expected: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"{name} of {TENSORS} in {where} cannot be used: {found}. Expected {expected}. Use another checkpoint."
    )


def _on_replicas(where: str, replicas: int, generators: Mapping[str, Any], found: Arrays) -> Arrays:
    """The states of random generators that another number of replicas has left: tf_keras has one for each of them."""
    layers = len(generators) // replicas
    if not found or not layers or len(generators) % replicas or len(found) % layers:
        return found
    before = len(found) // layers
    _logger.warning(
        "Going on from %s on %d replicas, which were %d. Dropout and other layers that draw random numbers draw others "
        "than they would have. Expected the same number, for a training as if it had never been interrupted.",
        where,
        replicas,
        before,
    )
    states = [found[name] for name in sorted(found)]
    places = [divmod(index, replicas) for index in range(len(generators))]
    return {
        name: states[layer * before + replica] if replica < before else np.asarray(variable)
        for (name, variable), (layer, replica) in zip(generators.items(), places, strict=True)
    }


def _unsaved_weights(host: Host, files: Any) -> dict[str, Any]:
    """Weights that the model's own files leave out."""
    known = {id(variable) for variable in files.variables.values()}
    missing = [variable for variable in host.weights if id(variable) not in known]
    return name_variables("weights", missing)


def _compare_learned(where: str, found: Mapping[str, str] | None, known: Mapping[str, str]) -> None:
    """Refuse layers with other vocabularies and the like; a checkpoint of an older version does not have them."""
    names = [] if found is None else sorted(n for n in {*found, *known} if found.get(n) != known.get(n))
    if names:
        raise StateMismatchError(
            f"What layers of the model have learned outside their weights is not what it was in {where}: "
            f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}. Expected the same vocabularies and boundaries "
            "as when it was written. Adapt the layers to the data of then, or begin with load_model, which has them."
        )


def _group(tensors: Arrays, prefix: str, without: Collection[str] = ()) -> Arrays:
    return {name: value for name, value in tensors.items() if name.startswith(prefix) and name not in without}


def _matched(where: str, what: str, variables: Mapping[str, Any], found: Arrays) -> list[tuple[Any, np.ndarray]]:
    """Each variable with its value.

    Raises:
        StateMismatchError: They do not fit each other.
    """
    missing = [name for name in variables if name not in found]
    unknown = [name for name in found if name not in variables]
    wrong = [
        f"{name}: {_form(found[name])} in the checkpoint, {_form(variable)} in the model"
        for name, variable in variables.items()
        if name in found and not _fits(found[name], variable)
    ]
    if missing or unknown or wrong:
        parts = [
            f"{len(names)} {phrase} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for names, phrase in (
                (missing, "are in the model and not in the checkpoint"),
                (unknown, "are in the checkpoint and not in the model"),
                (wrong, "differ in shape or type"),
            )
            if names
        ]
        raise StateMismatchError(
            f"The {what} of {where} do not fit the model: of {len(found)} in the checkpoint and {len(variables)} in "
            f"the model, {'; '.join(parts)}. Expected the same model, optimizer, metrics and precision as when it was "
            f"written. Build and compile the model as then, or load only its weights with load_model."
        )
    return [(variable, found[name]) for name, variable in variables.items()]


def _fits(value: np.ndarray, variable: Any) -> bool:
    # tf_keras has variables with a side of any length.
    shape = tuple(length if side is None else side for side, length in zip(variable.shape, value.shape, strict=False))
    return _dtype(value) == _dtype(variable) and len(variable.shape) == value.ndim and shape == value.shape


def _form(value: Any) -> str:
    return f"{_dtype(value)}{list(value.shape)}"


def _dtype(value: Any) -> str:
    return str(getattr(value.dtype, "name", value.dtype))
