"""``trainer_state.json`` as a value. Everything that uses the file reads it here.

A checkpoint may be damaged, or come from somebody else. So everything that is used of it, the states of callbacks
included, is checked when the file is read: before anything has been changed.
"""

from __future__ import annotations

import errno
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tf_hfwb import json_text
from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.errors import CheckpointError, CorruptCheckpointError, NotACheckpointError
from tf_hfwb.resume.checkpoint_participants import METRICS_LOGGER, TRAINING_LOG, check_states
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.resume.saved_rows import pieces_of
from tf_hfwb.tracking.row_log import SavedPiece, parse_row
from tf_hfwb.validation.json_checks import (
    UnexpectedValueError,
    anything,
    number,
    one_of,
    optional,
    parts,
    record,
    series,
    table,
    text,
    unexpected,
    whole,
)

FACTS = "trainer_state.json"
FORMAT = 3  # With adapters in place of the model: the weights that are frozen are elsewhere.
FORMAT_WITH_FILES = 2  # With files of rows, which a reader of the first format would lose.
FORMAT_WITHOUT_FILES = 1

_STEP = "train/global_step"


@dataclass(frozen=True)
class TrainerState:
    """The facts in a checkpoint besides its tensors.

    Attributes:
        global_step: Optimizer updates since the very first start.
        epoch: The epoch, with its fraction.
        position: Which batch comes next.
        metrics: What was measured at this step, under the names of rows.
        best_step: The step of the best checkpoint; None without one.
        run: ``id``, ``project``, ``entity`` and ``name`` of the W&B run, as far as they are known.
        arguments: What the training was started with.
        numpy: The state of NumPy's generator without its keys: algorithm, position, whether a number is left over, and
            that number.
        python: The state of Python's generator without its keys: version, and the number that is left over.
        learned: Digests of what layers have learned outside their weights, such as vocabularies; None in older
            checkpoints.
        is_model_only: Whether the checkpoint has the model and not the state of its training.
        callbacks: The state of each callback by its name; the logger's has the newest rows as ``log_history``, and
            those before them as ``older_rows``; the trainer's log likewise as ``history`` and ``older_history``.
        older_rows: The rows in files of their own.
        newest_rows: The rows after them.
    """

    global_step: int
    epoch: float
    position: Position
    metrics: Mapping[str, float]
    best_step: int | None
    run: Mapping[str, str]
    arguments: Mapping[str, Any]
    numpy: tuple[Any, ...]
    python: tuple[Any, ...]
    learned: Mapping[str, str] | None
    is_model_only: bool
    callbacks: Mapping[str, Any]
    older_rows: Sequence[SavedPiece]
    newest_rows: Sequence[Mapping[str, float]]

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> TrainerState:
        """Read the file of a checkpoint.

        Raises:
            CorruptCheckpointError: It is missing or not JSON, or a value is not of the kind that a save writes.
            NotACheckpointError: The checkpoint has been removed meanwhile.
        """
        path = checkpoint.path / FACTS
        try:
            if FACTS not in checkpoint.files:
                raise ValueError("the manifest does not name it")
            with checkpoint.open_file(FACTS) as file:
                return cls._of(json_text.loads(file.read()), checkpoint)
        except UnexpectedValueError as error:
            raise CorruptCheckpointError(
                f"{path} cannot be used: {error} Use another checkpoint, or copy this one again."
            ) from error
        except CheckpointError:  # Some of them are ValueErrors, or OSErrors.
            raise
        except (OSError, ValueError) as error:
            raise CorruptCheckpointError(
                f"{path} cannot be read: {error}. Expected JSON, as a save writes it. Use another checkpoint, or copy "
                "this one again."
            ) from error

    def check_resumable(self, path: pathlib.Path) -> None:
        """Refuse a checkpoint from which no training can resume.

        Args:
            path: The checkpoint.

        Raises:
            NotACheckpointError: It was saved without the state of the training.
        """
        if self.is_model_only:
            raise NotACheckpointError(
                errno.ENOENT,
                f"{path} was saved with save_only_model=True: it has no state of the optimizer and of the random "
                f"generators. Expected a checkpoint that has it, to resume the training. Name one, or begin a training "
                f"anew with the weights, which load_model and from_pretrained take from there.",
            )

    @classmethod
    def _of(cls, facts: Any, checkpoint: Checkpoint) -> TrainerState:
        # The format is checked first: in a newer one everything else may be different.
        record({"format": _format})(facts, "")
        found = _FACTS(facts, "")
        callbacks = dict(found["callbacks"])
        older = pieces_of(checkpoint, found.get("log_history_files", {}))
        if callbacks.get(METRICS_LOGGER):
            rows = {"log_history": found["log_history"], "older_rows": older}
            callbacks[METRICS_LOGGER] = callbacks[METRICS_LOGGER] | rows
        if log := callbacks.get(TRAINING_LOG):
            callbacks[TRAINING_LOG] = log | {"older_history": pieces_of(checkpoint, log.get("history_files", {}))}
        return cls(
            global_step=found["global_step"],
            epoch=found["epoch"],
            position=Position(**found["position"]),
            metrics=found["metrics"],
            best_step=found.get("best_step"),
            run={name: value for name, value in (found.get("run") or {}).items() if value is not None},
            arguments=found.get("arguments") or {},
            numpy=tuple(found["random"]["numpy"]),
            python=tuple(found["random"]["python"]),
            learned=found.get("learned"),
            is_model_only=found.get("is_model_only", False),
            callbacks=callbacks,
            older_rows=older,
            newest_rows=found["log_history"],
        )

    def rows(self) -> Iterator[Mapping[str, float]]:
        """All rows that were logged until then, the oldest first.

        Raises:
            CorruptCheckpointError: The checkpoint has been damaged since it was saved.
            NotACheckpointError: It has been removed meanwhile.
        """
        for piece in self.older_rows:
            for line in piece.read().decode().splitlines():
                yield parse_row(line)
        yield from self.newest_rows


def _format(value: Any, place: str) -> int:
    if isinstance(value, int) and value > FORMAT:
        raise unexpected(value, place, f"{FORMAT}: a newer version of this package wrote it. Upgrade it")
    return one_of([FORMAT_WITHOUT_FILES, FORMAT_WITH_FILES, FORMAT])(value, place)


def _run_id(value: Any, place: str) -> str:
    # As W&B allows it. The id becomes part of paths, so it must not lead out of them.
    if not isinstance(value, str) or not re.fullmatch(r"[^/\\#?%:\0]{1,128}", value) or value in (".", ".."):
        raise unexpected(value, place, "the id of a W&B run")
    return value


def _row(value: Any, place: str) -> dict[str, float]:
    found: dict[str, float] = table(number)(value, place)
    if _STEP in found:
        whole()(found[_STEP], f"{place}.{_STEP}")
    return found


_FACTS = record(
    {
        "global_step": whole(),
        "epoch": number,
        "position": record(dict.fromkeys(("step", "epoch", "batch", "batches"), whole()), exact=True),
        "metrics": table(number),
        "random": record(
            {
                "numpy": parts(one_of(["MT19937"]), whole(0, 624), whole(0, 1), number),
                "python": parts(one_of([3]), optional(number)),
            }
        ),
        "callbacks": check_states,
        "log_history": series(_row),
    },
    {
        "best_step": optional(whole()),
        "run": optional(
            record({}, {"id": optional(_run_id), **dict.fromkeys(("project", "entity", "name"), optional(text))})
        ),
        "arguments": optional(table(anything)),
        "learned": optional(table(text)),
        "is_model_only": one_of([False, True]),
        "log_history_files": table(whole(1)),
    },
)
