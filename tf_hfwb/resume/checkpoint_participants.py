"""Who takes part in the checkpoints of a training, and what each of them may say there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tf_hfwb import json_text
from tf_hfwb.validation.json_checks import Check, anything, number, optional, record, series, table, text, whole

CaptureState = Callable[[], dict[str, Any]]

# The names of participants in ``trainer_state.json``; where a fit may have several of a kind, how they begin.
CHECKPOINTS = "WandbModelCheckpoint"
EARLY_STOPPING = "EarlyStopping"
EVALUATIONS = "EvaluateDuringFit"
FINITE_LOSSES = "FiniteLosses"
FIRST_STEP = "StopAfterSteps"
KERAS_CALLBACKS = "GuestStates"
LOADER = "GrainStates"
METRICS_LOGGER = "WandbMetricsLogger"
PLATEAU = "ReduceRateOnPlateau"
STREAM = "StreamCheckpoints"
TABLES = "WandbEvalTable"
TOKENS = "TokenTotals"
TOTALS = "TrainingTotals"
TRAINER_CALLBACKS = "TrainerCallbacks"
TRAINING_LOG = "TrainingLog"

# The trainer adds these by itself. A user who leaves the trainer has not lost anything without them.
ADDED_BY_THE_TRAINER = frozenset({FINITE_LOSSES, FIRST_STEP, STREAM, TOKENS, TOTALS, TRAINING_LOG})


class Participant(Protocol):
    """A part of a training whose state is in each checkpoint."""

    @property
    def participant_name(self) -> str:
        """What its state is called in the checkpoint; no two participants of a fit have the same."""

    def capture_state(self) -> CaptureState:
        """Note the state as of now, on the training thread. What it returns is called on the writer's thread."""

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take over a state, when a fit begins. It is empty in a fit that does not resume anything."""


class Participants:
    """The participants of one fit.

    Args:
        saved: The states of the participants by their names, of the checkpoint from which the fit resumes.
    """

    def __init__(self, saved: Mapping[str, Any]) -> None:
        self._saved = saved
        self._members: dict[str, Participant] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def count(self, kind: str) -> int:
        """The number of participants that are called ``kind``, or that with a number."""
        return sum(name == kind or name.rpartition("-")[0] == kind for name in self._members)

    def add(self, participant: Participant) -> None:
        """Let it take part, and hand it the state that it had in the checkpoint."""
        name = participant.participant_name
        self._members[name] = participant
        participant.restore_state(self._saved.get(name) or {})

    def capture(self) -> dict[str, CaptureState]:
        """The states of all participants as of now, by their names."""
        return {name: member.capture_state() for name, member in self._members.items()}

    def dropped(self) -> list[str]:
        """The names of those that had counted something in the checkpoint, and that this fit lacks."""
        counted = [name for name, state in self._saved.items() if any(state.values())]
        return [name for name in counted if name not in self._members and name not in ADDED_BY_THE_TRAINER]


_SUMS = record({"total": number, "batches": whole(), "samples": whole()}, exact=True)
_MOMENT = record({"step": whole(), "epoch": number, "seconds": number}, exact=True)
_ROWS = record({"interval": _SUMS, "fit": _SUMS, "row": _MOMENT})  # Earlier releases wrote "begin", too.


def _row_in_json(value: Any, place: str) -> dict[str, float]:
    """A row that stands there as text: as an object each of its numbers would have a line of its own."""
    found: dict[str, float] = table(number)(json_text.loads(text(value, place).encode()), place)
    return found


_KERAS_COUNTS = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")

# What each kind of participant uses of its state, by the beginning of its name.
STATE_CHECKS: dict[str, Check] = {
    EARLY_STOPPING: record(
        {},
        {
            "wait": whole(),
            "best": optional(number),
            "best_epoch": whole(),
            "best_step": whole(),
            "stopped_epoch": whole(),
            "stopped_step": whole(),
            "best_at": number,
            "stopped_at": number,
        },
    ),
    EVALUATIONS: record({}, {"metrics": table(number)}),
    KERAS_CALLBACKS: table(
        record({}, {**dict.fromkeys(_KERAS_COUNTS, optional(number)), "monitor": optional(text)}, exact=True)
    ),
    LOADER: record({"batches": whole(), "state": optional(text)}, exact=True),
    FINITE_LOSSES: record({}, {"good_step": optional(whole())}),
    FIRST_STEP: record({}, {"first_step": whole()}),
    STREAM: record(
        {
            **dict.fromkeys(("pass_number", "pass_start", "block", "batch"), whole()),
            "state": optional(table(anything)),
            "digest": optional(text),
        },
        exact=True,
    ),
    TOKENS: record({}, {"tokens": whole()}),
    TOTALS: record({}, {"losses": number, "batches": whole()}),
    TABLES: record({}, {"evaluations": whole()}),
    PLATEAU: record(
        {"rate": number, "best": optional(number), "bad": whole(), "cooldown": whole()},
        {"metric": optional(text)},
        exact=True,
    ),
    TRAINER_CALLBACKS: table(series(record({}, {"attributes": table(anything)}))),
    TRAINING_LOG: record(
        {
            "rows": _ROWS,
            "history": series(_row_in_json),
            "best_metric": optional(number),
            "best_global_step": optional(whole()),
        },
        {"history_files": table(whole(1)), "best_by": optional(text)},
    ),
    METRICS_LOGGER: record({"rows": _ROWS, "best": table(number)}, {"dashboards": table(table(text))}),
    CHECKPOINTS: record(
        {},
        {
            "best": optional(number),
            "best_step": optional(whole()),
            "monitor": optional(text),
            "direction": optional(text),
            "steps_per_epoch": optional(whole()),
        },
    ),
}


def check_states(value: Any, place: str) -> dict[str, Any]:
    """The states of all participants, if each is as its kind of participant writes it.

    Raises:
        UnexpectedValueError: One of them is not.
    """
    found: dict[str, Any] = table(record({}))(value, place)
    for name, state in found.items():
        check = next((check for kind, check in STATE_CHECKS.items() if name.startswith(kind)), None)
        if state and check is not None:  # The logger's is empty when it had no run.
            found[name] = check(state, f"{place}.{name}")
    return found
