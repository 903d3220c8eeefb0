"""The whole state of a training as one value: captured between two steps, and written later.

It consists of the weights, the optimizer (slots, step, learning rate, loss scale, moving averages), the random
generators (the layers', TensorFlow's and Keras's global ones, NumPy's and Python's), the metric accumulators of the
current epoch, the recorded losses, the state of the callbacks, and the position in the data.

In a checkpoint's directory it is stored as the model's own files, ``training_state.safetensors`` and
``trainer_state.json``; ``docs/checkpoint-format.md`` describes them.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tf_hfwb import json_text
from tf_hfwb.checkpoint.store import Checkpoint, Draft, Pace, Store
from tf_hfwb.keras_compat import BASE, Host, LoRAFiles, ModelFiles
from tf_hfwb.resume.checkpoint_participants import CaptureState
from tf_hfwb.resume.lora_base import digest_of_base, write_base
from tf_hfwb.resume.saved_rows import LOG_HISTORY, STATE_HISTORY, RowFiles, write_rows
from tf_hfwb.resume.state_tensors import GLOBAL_GENERATOR, NUMPY_GENERATOR, PYTHON_GENERATOR, RECORDER, TENSORS
from tf_hfwb.resume.trainer_state import FACTS, FORMAT, FORMAT_WITH_FILES, FORMAT_WITHOUT_FILES
from tf_hfwb.resume.weight_restoring import unsaved_weights
from tf_hfwb.secret_masking import mask
from tf_hfwb.tracking.row_log import RowsSoFar

_logger = logging.getLogger("tf_hfwb")


@dataclass
class TrainingState:
    """A captured state. Its values may still be tensors, whose buffers it holds.

    Attributes:
        files: The model's files, of ``Host.model_files``.
        weights: The model's weights, and what its layers compute when they are saved.
        others: Everything else that is a tensor.
        facts: Everything else.
        callbacks: The functions that return the callbacks' states; called on the thread that writes. A state's
            ``log_history`` and its ``history`` are rows so far.
        base: Of a model with LoRA the weights of its base, until they are written.
    """

    files: ModelFiles
    weights: dict[str, Any]
    others: dict[str, Any]
    facts: dict[str, Any]
    callbacks: Mapping[str, Callable[[], dict[str, Any]]]
    base: dict[str, Any] = field(default_factory=dict)
    _row_files: list[RowFiles] = field(default_factory=list, init=False)

    def write_base(self, store: Store, pace: Pace) -> Checkpoint | None:
        """Write the base of a model with LoRA, if that is still to be done; before :meth:`write`.

        Args:
            store: The output directory.
            pace: See :meth:`Store.draft`.
        """
        files, base = self.files, None
        # While this state waited, another may have written it.
        if isinstance(files, LoRAFiles) and self.base and not files.base_sha256:
            base = write_base(store, {name: np.asarray(value) for name, value in self.base.items()}, pace)
            files.base_size, files.base_sha256 = base.files[BASE].size, base.files[BASE].sha256
        self.base.clear()
        return base

    def write(self, draft: Draft, previous: Checkpoint | None) -> None:
        """Write the state into a draft, and release the tensors.

        Args:
            draft: The draft of a checkpoint.
            previous: An earlier checkpoint whose files may be linked.
        """
        self.files.write(draft, {name: np.asarray(value) for name, value in self.weights.items()}, previous)
        self.weights.clear()
        if self.others:
            draft.write_tensors(TENSORS, {name: np.asarray(value) for name, value in self.others.items()})
        self.others.clear()
        self._write_facts(draft)

    def _write_facts(self, draft: Draft) -> None:
        states = {name: state() for name, state in self.callbacks.items()}
        rows: RowsSoFar | None = None
        for state in states.values():
            rows = state.pop("log_history", rows)
            if "history" in state:
                history: RowsSoFar = state["history"]
                state |= {"history": history.newest, "history_files": self._write_rows(draft, history, STATE_HISTORY)}
        # The run is found again by its name, so that is not masked, whatever it looks like.
        facts = {**mask({**self.facts, "callbacks": states}), "run": self.facts.get("run")}
        if rows is not None and (files := self._write_rows(draft, rows, LOG_HISTORY)):
            facts["log_history_files"] = files
        if isinstance(self.files, LoRAFiles):
            facts["format"] = FORMAT
        elif any(written.files for written in self._row_files):
            facts["format"] = FORMAT_WITH_FILES
        # The newest rows are added as text, a line for each, because they are JSON already.
        text = json_text.dumps(facts, indent=2).removesuffix("\n}")
        newest = ",\n    ".join(() if rows is None else rows.newest)
        with draft.open(FACTS) as file:
            file.write(f'{text},\n  "log_history": [\n    {newest}\n  ]\n}}\n'.encode())

    def _write_rows(self, draft: Draft, rows: RowsSoFar, folder: str) -> dict[str, int]:
        self._row_files.append(write_rows(draft, rows, folder))
        return self._row_files[-1].files

    def note_commit(self, checkpoint: Checkpoint) -> None:
        """What was written is this checkpoint now."""
        for files in self._row_files:
            files.note_commit(checkpoint)


class StateCapture:
    """Captures the state of one model's training, as often as it is asked to.

    Args:
        host: The model, compiled and built.
        only_model: Whether to leave out what only the training needs.
    """

    def __init__(self, host: Host, *, only_model: bool = False) -> None:
        self._host = host
        self._only_model = only_model
        host.snapshot(())  # Tests, before the first save, whether snapshots can be trusted.
        self.files = host.lora_files() or host.model_files()
        others = host.other_optimizers()
        if others and not only_model:
            _logger.warning(
                "%s has further optimizers (%s), which are not in its checkpoints: only model.optimizer is.",
                type(host.model).__name__,
                ", ".join(others),
            )
        self._fixed = {} if isinstance(self.files, LoRAFiles) else unsaved_weights(host, self.files)
        if not only_model:
            self._fixed |= {**host.optimizer_variables(), **host.random_variables()}

    def take(self, facts: Mapping[str, Any], participants: Mapping[str, CaptureState]) -> TrainingState:
        """Capture the state as it is now: between two steps, or at the end of an epoch.

        Args:
            facts: More for ``trainer_state.json``.
            participants: The states of the participants, as :meth:`Participants.capture` gives them.
        """
        variables = {**self._fixed} if self._only_model else {**self._fixed, **self._changing_variables()}
        weights, base = self.files.variables, self._base_to_write()
        values = self._host.snapshot([*weights.values(), *variables.values()])
        others = dict(zip(variables, values[len(weights) :], strict=True))
        numpy_keys, numpy_facts = _capture_numpy_generator()
        python_keys, python_facts = _capture_python_generator()
        if not self._only_model:
            recorder = self._host.record_steps()
            others[RECORDER] = recorder.capture()
            others |= recorder.process_generators()
            others[NUMPY_GENERATOR], others[PYTHON_GENERATOR] = numpy_keys, python_keys
        return TrainingState(
            files=self.files,
            weights=dict(zip(weights, values[: len(weights)], strict=True)) | self.files.compute_values(),
            others=others,
            facts={
                "format": FORMAT_WITHOUT_FILES,
                **facts,
                "random": {"numpy": numpy_facts, "python": python_facts},
                "learned": self.files.digests,
                **({"is_model_only": True} if self._only_model else {}),
            },
            callbacks=participants,
            base=dict(zip(base, self._host.snapshot([*base.values()]), strict=True)),
        )

    def whole_files(self) -> ModelFiles:
        """The model's files with all of its weights, whatever checkpoints hold of them."""
        return self._host.model_files() if isinstance(self.files, LoRAFiles) else self.files

    def has_changed_base(self) -> bool:
        """Whether weights differ by now from the base that the checkpoints of a model with LoRA need."""
        files = self.files
        if not isinstance(files, LoRAFiles) or not files.base_sha256:
            return False
        return digest_of_base(self._host, files)[1] != files.base_sha256

    def _base_to_write(self) -> dict[str, Any]:
        return self.files.base if isinstance(self.files, LoRAFiles) and not self.files.base_sha256 else {}

    def _changing_variables(self) -> dict[str, Any]:
        """Variables that may not be there yet when the first state is captured."""
        variables = dict(self._host.metric_variables())
        global_generator = self._host.global_random_variable()
        if global_generator is not None:
            variables[GLOBAL_GENERATOR] = global_generator
        return variables


def _capture_numpy_generator() -> tuple[np.ndarray, list[Any]]:
    """The keys of NumPy's global generator as a tensor, and the rest of its state."""
    algorithm, keys, place, has_gauss, gauss = np.random.get_state()
    return np.array(keys), [algorithm, place, has_gauss, gauss]


def _capture_python_generator() -> tuple[np.ndarray, list[Any]]:
    """The keys of Python's global generator as a tensor, and the rest of its state."""
    version, keys, gauss_next = random.getstate()
    return np.array(keys, np.uint32), [version, gauss_next]
