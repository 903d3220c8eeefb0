"""A table of what a training has come to: steps, time, metrics, checkpoints, and where the run is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tf_hfwb.callbacks.model_checkpoint import WandbModelCheckpoint
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import CheckpointError
from tf_hfwb.evaluation.metric_values import numbers_in
from tf_hfwb.fit.finite_losses import FiniteLosses
from tf_hfwb.fit.fit_session import running_session
from tf_hfwb.fit.training_totals import TrainingTotals
from tf_hfwb.keras_compat import Host
from tf_hfwb.step_policies import is_better
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.fit_callbacks import find_callback
from tf_hfwb.trainer.progress.progress_line import duration, loss_first, rate_in_words
from tf_hfwb.trainer.progress.training_progress import TrainingProgress
from tf_hfwb.trainer.search.search_trial import TrialStoppedError

if TYPE_CHECKING:
    from transformers.trainer_callback import TrainerState

_NAMED_CHECKPOINTS = 4  # Of more than these only the newest and the best are named.


@dataclass(frozen=True)
class TrainingFacts:
    """What is known of a training when it has ended, by itself or not.

    Attributes:
        totals: Its steps, samples and losses.
        losses: Which of the losses are not finite.
        first_step: The global step with which the training began, be it in an earlier process.
        last_step: The one with which it was to end.
        epoch: The epochs that were trained, with a fraction.
        seconds: How long the fit took.
        history: The rows of the training and of its evaluations, under the names of transformers' ``Trainer``.
        is_higher_better: Whether more of an evaluation's metric is better.
        checkpoints: The directory of the checkpoints; None where none are saved.
        best_checkpoint: The name of the best one; None without one.
        run: Where the W&B run is; empty without one.
        error: What has ended the training; None where it has ended by itself.
    """

    totals: TrainingTotals
    losses: FiniteLosses
    first_step: int
    last_step: int
    epoch: float
    seconds: float
    history: Sequence[Mapping[str, float]]
    is_higher_better: Callable[[str], bool]
    checkpoints: str | None
    best_checkpoint: str | None
    run: str
    error: BaseException | None


def tell_end(
    host: Host, args: TFTrainingArguments, state: TrainerState, callbacks: Sequence[Any], run: str, error: Any
) -> None:
    """Print what a training has come to, where it was shown how far it is.

    Args:
        host: The model.
        args: The trainer's arguments.
        state: What transformers' callbacks are told.
        callbacks: Those of the fit.
        run: Where the W&B run is; empty without one.
        error: The exception that has ended the fit; None where it has ended by itself.
    """
    progress, session = find_callback(callbacks, TrainingProgress), running_session(host.model)
    if progress is None or not progress.has_begun or session is None:
        return
    best = getattr(find_callback(callbacks, WandbModelCheckpoint), "best_checkpoint", None)
    facts = TrainingFacts(
        totals=find_callback(callbacks, TrainingTotals),
        losses=find_callback(callbacks, FiniteLosses),
        first_step=progress.first_step,
        last_step=state.max_steps,
        epoch=state.epoch or 0.0,
        seconds=progress.seconds,
        history=[numbers_in(row) for row in state.log_history],
        is_higher_better=lambda name: session.directions.is_higher_better(name, host),
        checkpoints=None if args.save_strategy == "no" else args.output_dir,
        best_checkpoint=None if best is None else best.name,
        run=run,
        error=error,
    )
    progress.write(closing_table(facts))


def closing_table(facts: TrainingFacts) -> str:
    """The table, as lines."""
    rows = {"trained": _trained(facts), **_losses(facts), **_evaluations(facts)}
    if facts.checkpoints is not None:
        rows["checkpoints"] = _checkpoints(facts.checkpoints, facts.best_checkpoint)
    if facts.run:
        rows["run"] = facts.run
    width = max(map(len, rows))
    return "\n".join([_headline(facts), *(f"  {name:{width}}  {text}" for name, text in rows.items())])


def _headline(facts: TrainingFacts) -> str:
    where = f"step {facts.totals.step} of {facts.last_step}, epoch {facts.epoch:.4g}"
    if isinstance(facts.error, KeyboardInterrupt | SystemExit):
        return f"Training was interrupted at {where}."
    if isinstance(facts.error, TrialStoppedError):
        return f"The trial was {facts.error}."
    if facts.error is not None:
        return f"Training failed at {where}: {type(facts.error).__name__}."
    if facts.totals.step < facts.last_step:
        return f"Training was ended early, at {where}."
    return f"Training has ended at {where}."


def _trained(facts: TrainingFacts) -> str:
    steps, seconds = facts.totals.steps, facts.seconds
    if not steps:
        return "no step"
    before = facts.totals.step - steps
    since = f" since step {before}" if before > facts.first_step else ""
    rates = f"{rate_in_words(steps / seconds)}, {facts.totals.samples / seconds:.3g} samples/s"
    return f"{steps} steps{since} in {duration(seconds)}, {rates}"


def _losses(facts: TrainingFacts) -> dict[str, str]:
    if math.isnan(facts.totals.loss) and not facts.totals.steps:
        return {}
    newest = next((row["loss"] for row in reversed(facts.history) if "loss" in row), None)
    newest_in_words = "" if newest is None else f", {newest:.4g} in the last row"
    rows = {"train_loss": f"{facts.totals.loss:.4g} on average{newest_in_words}"}
    if facts.losses.first_bad_step is not None:
        rows["no numbers"] = (
            f"the losses of {facts.losses.num_bad} steps, first that of step {facts.losses.first_bad_step}"
        )
    return rows


def _evaluations(facts: TrainingFacts) -> dict[str, str]:
    """The newest value of each metric, and the best one where that is another."""
    newest: dict[str, tuple[float, float]] = {}
    best: dict[str, tuple[float, float]] = {}
    for row in facts.history:
        for name in _metrics_of(row):
            found = newest[name] = row[name], row["step"]
            known = best.get(name)
            if is_better(found[0], None if known is None else known[0], higher=facts.is_higher_better(name)):
                best[name] = found
    return {name: _with_best(*newest[name], *best.get(name, newest[name])) for name in loss_first(newest)}


def _with_best(value: float, step: float, best: float, best_step: float) -> str:
    is_another = best_step != step and best != value
    return f"{value:.4g} (best {best:.4g} at step {best_step})" if is_another else f"{value:.4g}"


def _metrics_of(row: Mapping[str, float]) -> Iterable[str]:
    return (name for name in row if name.startswith("eval_") and not name.endswith(("runtime", "per_second")))


def _checkpoints(directory: str, best: str | None) -> str:
    try:
        names = [checkpoint.name for checkpoint in Store(directory).checkpoints()]
    except CheckpointError as error:
        return str(error)
    if not names:
        return f"none in {directory}"
    best_in_words = f"; the best is {best}" if best in names else ""
    if len(names) <= _NAMED_CHECKPOINTS:
        return f"{', '.join(names)} in {directory}{best_in_words}"
    return f"{len(names)} in {directory}, the newest is {names[-1]}{best_in_words}"
