"""What a training is going to do, decided before its first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tf_hfwb.data import Batches
from tf_hfwb.data.stream_positions import StreamPositions
from tf_hfwb.fit.stream_checkpoints import StreamCheckpoints
from tf_hfwb.fit.token_totals import TokenCounts, TokenTotals
from tf_hfwb.step_policies import EverySteps, Never, Once, Policy
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments, steps_of
from tf_hfwb.trainer.training_length import TrainingLength


@dataclass(frozen=True)
class TrainingPlan:
    """What a training is going to do.

    Attributes:
        args: Its arguments.
        batches: What it trains on, from the batch with which it begins.
        batch_size: Samples of a batch over all replicas.
        evaluations: What it evaluates on in between, by the dataset's name, which is empty when there is only one.
        length: How long it is, and where it begins.
        token_counts: The tokens of its batches; None if they are not counted.
        stream_positions: Where blocks of its stream of data begin; None for other data.
    """

    args: TFTrainingArguments
    batches: Batches
    batch_size: int
    evaluations: Mapping[str, Batches]
    length: TrainingLength
    token_counts: TokenCounts | None
    stream_positions: StreamPositions | None

    def follow_stream(self) -> list[StreamCheckpoints]:
        """The callback that lets checkpoints say where the training stands in a stream; none for other data."""
        return [] if self.stream_positions is None else [StreamCheckpoints(self.stream_positions)]

    def count_tokens(self) -> TokenTotals | None:
        """The callback that counts tokens; None if they are not counted."""
        in_rows = self.args.include_num_input_tokens_seen != "no"
        return None if self.token_counts is None else TokenTotals(self.token_counts, in_rows=in_rows)

    @property
    def has_partial_batches(self) -> bool:
        """Whether a batch may have fewer samples than the others."""
        samples = self.batches.num_samples
        return samples is None or (samples % self.batch_size > 0 and not self.args.dataloader_drop_last)

    @property
    def log_freq(self) -> Literal["no", "epoch"] | int:
        """When to log, as :class:`~tf_hfwb.WandbMetricsLogger` takes it."""
        if self.args.logging_strategy == "steps":
            return steps_of(self.args.logging_steps, self.length.steps)
        return self.args.logging_strategy

    @property
    def log_policy(self) -> Policy:
        """The steps after which to log."""
        first = self.args.logging_first_step
        if self.args.logging_strategy == "steps":
            return EverySteps(steps_of(self.args.logging_steps, self.length.steps), first=first)
        return Once(1) if first else Never()

    @property
    def eval_policy(self) -> Policy:
        """The steps after which to evaluate."""
        args = self.args
        return self._policy(args.eval_strategy, args.eval_interval, args.eval_delay)

    @property
    def save_policy(self) -> Policy:
        """The steps after which to save; what is the best is known where an evaluation was made."""
        return self._policy(self.args.save_strategy, self.args.save_steps)

    def _policy(self, strategy: str, interval: float, earliest: float = 0) -> Policy:
        steps = steps_of(interval, self.length.steps)
        return EverySteps(steps, earliest=earliest) if strategy == "steps" else Never()

    @property
    def checkpoint_arguments(self) -> dict[str, Any]:
        """What the checkpoints say of the arguments and of the training data."""
        facts = _data_facts("train_dataset", self.batches)
        return {**self.args.to_dict(), "train_batch_size": self.batch_size, **facts}

    @property
    def run_facts(self) -> dict[str, Any]:
        """What the run's config says of all data."""
        facts = _data_facts("train_dataset", self.batches)
        facts["total_train_batch_size"] = self.batch_size * self.length.groups.size
        for name, batches in self.evaluations.items():
            facts |= _data_facts(f"eval_dataset/{name}" if name else "eval_dataset", batches)
        return facts


def _data_facts(name: str, batches: Batches) -> dict[str, Any]:
    return {f"{name}/fingerprint": batches.fingerprint, f"{name}/num_samples": batches.num_samples}
