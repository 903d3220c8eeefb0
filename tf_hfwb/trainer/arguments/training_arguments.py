"""``TFTrainingArguments``: what a ``TFTrainer`` does, as plain values that a command line can set."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, TypeVar

from tf_hfwb.secret_masking import mask
from tf_hfwb.step_policies import higher_is_better
from tf_hfwb.trainer.arguments.argument_combinations import check_combinations
from tf_hfwb.trainer.arguments.argument_setters import ArgumentSetters
from tf_hfwb.trainer.arguments.argument_support import mention_arguments_without_effect, refuse_unsupported
from tf_hfwb.trainer.arguments.argument_values import check_values, parse_report_to
from tf_hfwb.trainer.arguments.compute_devices import set_devices
from tf_hfwb.trainer.arguments.device_members import DeviceMembers
from tf_hfwb.trainer.arguments.former_spellings import FORMER, take_former_spellings
from tf_hfwb.trainer.arguments.schedule_options import options_of_schedule, parse_schedule_kwargs
from tf_hfwb.trainer.arguments.unknown_arguments import refuse_unknown
from tf_hfwb.trainer.arguments.worker_members import take_local_rank
from tf_hfwb.validation.argument_checks import check_directory, to_json_value

_Arguments = TypeVar("_Arguments", bound="TFTrainingArguments")


@dataclass
class TFTrainingArguments(ArgumentSetters, DeviceMembers):
    """The arguments of a training, named as in transformers' ``TrainingArguments`` and with its defaults.

    Each does what it says, has no effect because nothing is lost without it (which is said once), or is refused with
    what to use instead. Steps are optimizer steps. An interval below 1 is a share of all steps.

    ``docs/arguments.md`` lists all arguments, and which of them have an effect.

    Raises:
        SettingError: A value is out of range, contradicts another one, or cannot be written as JSON, as checkpoints do.
            The error names the argument, the value and what was expected. NumPy's numbers and paths become plain ones.
        UnknownArgumentError: There is no argument of that name.

    Example:
        >>> args = TFTrainingArguments(output_dir="out", learning_rate=3e-5, eval_strategy="epoch", run_name="bert")
        >>> args.report_to
        ['wandb']
    """

    _is_direction_given = False  # Not a field: whether ``greater_is_better`` was given.

    def __new__(cls: type[_Arguments], *values: Any, **named: Any) -> _Arguments:
        """Refuse names that do not exist with advice, before Python does so without any."""
        refuse_unknown(cls, named)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check every value before any time is spent."""
        self._is_direction_given = self.greater_is_better is not None
        self.check()
        mention_arguments_without_effect(self)

    def check(self) -> None:
        """Check every value, and make it a plain one that JSON can write. Call it after setting a value.

        Raises:
            SettingError: A value cannot be used.
        """
        self.output_dir = check_directory("output_dir", self.output_dir)
        take_former_spellings(self)
        refuse_unsupported(self)
        for each in dataclasses.fields(self):
            setattr(self, each.name, to_json_value(each.name, getattr(self, each.name)))
        self.report_to = parse_report_to(self.report_to)
        take_local_rank(self)
        if isinstance(self.include_for_metrics, str):
            self.include_for_metrics = [self.include_for_metrics]
        self.lr_scheduler_kwargs = parse_schedule_kwargs(self.lr_scheduler_kwargs)
        check_values(self)
        needs_metric = self.load_best_model_at_end or self.lr_scheduler_type == "reduce_lr_on_plateau"
        if needs_metric and self.metric_for_best_model is None:
            self.metric_for_best_model = "loss"
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = higher_is_better(self.metric_for_best_model)
        check_combinations(self)
        set_devices(self)

    @property
    def stated_direction(self) -> bool | None:
        """What ``greater_is_better`` was given as; None if it is a guess by the metric's name.

        A metric that the model was compiled with knows better than such a guess.
        """
        return self.greater_is_better if self._is_direction_given else None

    @property
    def evaluates(self) -> bool:
        """Whether a training evaluates."""
        return self.eval_strategy != "no" or self.eval_on_start

    @property
    def counted_tokens(self) -> str:
        """Which tokens are counted in a training: ``"no"``, ``"all"`` or ``"non_padding"``."""
        kind = str(self.include_num_input_tokens_seen)
        return "all" if kind == "no" and self.include_tokens_per_second else kind

    @property
    def eval_interval(self) -> float:
        """The interval of evaluations by steps."""
        return self.logging_steps if self.eval_steps is None else self.eval_steps

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """The number of warm-up steps among those of a training, as transformers counts them."""
        return self.warmup_steps if self.warmup_steps > 0 else math.ceil(num_training_steps * self.warmup_ratio)

    def schedule_options(self) -> dict[str, Any]:
        """All options of the learning-rate schedule."""
        options = options_of_schedule(self.lr_scheduler_type, parse_schedule_kwargs(self.lr_scheduler_kwargs) or {})
        if self.lr_scheduler_type == "linear" or self.poly_power != 1.0:
            options["power"] = self.poly_power
        return options

    def to_dict(self) -> dict[str, Any]:
        """All arguments as plain values, with secrets masked."""
        values: dict[str, Any] = mask(dataclasses.asdict(self))
        return values

    def to_json_string(self) -> str:
        """All arguments as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_sanitized_dict(self) -> dict[str, Any]:
        """All arguments, and the batch sizes over all devices, as numbers, bools and strings."""
        values = self.to_dict() | {"train_batch_size": self.train_batch_size, "eval_batch_size": self.eval_batch_size}
        return {name: value if type(value) in (bool, int, float, str) else str(value) for name, value in values.items()}

    def __str__(self) -> str:
        """All arguments that are not former spellings, one a line, with secrets masked."""
        values = sorted((name, value) for name, value in self.to_dict().items() if name not in FORMER)
        return "\n".join([f"{type(self).__name__}(", *(f"{name}={value!r}," for name, value in values), ")"])

    __repr__ = __str__


TFSeq2SeqTrainingArguments = TFTrainingArguments  # They have the arguments of transformers' Seq2SeqTrainingArguments.


def steps_of(interval: float, total_steps: int) -> int:
    """An interval in steps: a share below 1 is taken of all steps.

    Example:
        >>> steps_of(500, 1000), steps_of(0.1, 1000)
        (500, 100)
    """
    return int(interval) if interval >= 1 else max(1, math.ceil(interval * total_steps))
