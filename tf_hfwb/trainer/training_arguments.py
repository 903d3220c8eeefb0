"""``TFTrainingArguments``: what a ``TFTrainer`` does, as plain values that a command line can set."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tf_hfwb.secret_masking import mask
from tf_hfwb.step_policies import higher_is_better
from tf_hfwb.trainer.argument_combinations import check_combinations
from tf_hfwb.trainer.argument_values import SaveStrategy, Schedule, Strategy, check_values, parse_report_to
from tf_hfwb.trainer.unknown_arguments import refuse_unknown
from tf_hfwb.validation.argument_checks import directory, plain

_Arguments = TypeVar("_Arguments", bound="TFTrainingArguments")


def _option(default: Any, help: str) -> Any:
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass
class TFTrainingArguments:
    """The arguments of a training, named as in transformers' ``TrainingArguments`` and with its defaults.

    An argument of the PyTorch ``Trainer`` that is missing here is not supported yet. Nothing is accepted and ignored.
    Steps are optimizer steps. An interval below 1 is a share of all steps.

    Args:
        output_dir: Where ``save_model`` writes, and where the checkpoints are.
        do_train: For scripts: whether to train. The trainer does not read it.
        do_eval: For scripts: whether to evaluate. The trainer does not read it.
        do_predict: For scripts: whether to predict. The trainer does not read it.
        eval_strategy: When to evaluate: ``"no"``, every ``eval_steps`` ``"steps"``, or each ``"epoch"``.
        eval_steps: The interval of evaluations, for ``"steps"``; ``logging_steps`` when None.
        per_device_train_batch_size: Samples of one step on one device.
        per_device_eval_batch_size: Samples of one evaluation step on one device.
        learning_rate: The highest rate of the schedule.
        weight_decay: The decay of all weights except biases and those of normalisation layers.
        adam_beta1: The first decay rate of AdamW.
        adam_beta2: The second decay rate of AdamW.
        adam_epsilon: The stabiliser of AdamW.
        max_grad_norm: The global norm to which gradients are clipped; 0 does not clip.
        num_train_epochs: Epochs to train, fractions included.
        max_steps: Steps to train, if positive; wins over ``num_train_epochs``.
        lr_scheduler_type: ``"linear"``, ``"cosine"``, ``"constant"`` or ``"constant_with_warmup"``.
        warmup_ratio: The share of all steps over which the rate rises from 0.
        warmup_steps: Steps over which the rate rises from 0; wins over ``warmup_ratio``.
        logging_strategy: When to log: ``"no"``, every ``logging_steps`` ``"steps"``, or each ``"epoch"``.
        logging_first_step: Also log the first step.
        logging_steps: The interval of logging, for ``"steps"``.
        save_strategy: When to save a checkpoint: ``"no"``, every ``save_steps`` ``"steps"`` and at the last one, each
            ``"epoch"``, or at each evaluation that is the ``"best"`` so far.
        save_steps: The interval of checkpoints, for ``"steps"``.
        save_total_limit: How many checkpoints to keep; the newest and the best stay in any case.
        link_to_registry: A collection of W&B's model registry into which the model at the end is put.
        delete_superseded: With ``save_total_limit``, also delete older versions of the checkpoint artifact on W&B.
        load_best_model_at_end: Put the weights of the best checkpoint into the model when training ends; evaluations
            and checkpoints must then fall on the same steps.
        metric_for_best_model: The metric that tells what is best, with or without ``eval_``; ``"loss"`` for
            ``load_best_model_at_end`` when None.
        greater_is_better: Whether a higher value of that metric is better. When None, a metric that the model was
            compiled with tells; for any other it is guessed by the name: False for a loss or an error rate.
        resume_from_checkpoint: For scripts: what to pass to ``train``. The trainer does not read it.
        full_determinism: Let TensorFlow compute the same bits every time, at the cost of speed.
        seed: The seed of initialisation, dropout and, without ``data_seed``, of the order of the samples.
        data_seed: The seed of the order of the samples.
        dataloader_drop_last: Drop the last batch of an epoch when it is smaller.
        run_name: The W&B run's name.
        report_to: ``"wandb"``, ``"none"``, ``"all"``, or a list of them; all when None.
        remove_unused_columns: Drop columns of a dataset that the model's ``call`` does not take.
        label_names: The columns that are labels; found by the model's class when None.
        disable_tqdm: No progress bar; the name is transformers', the bar is Keras's.
        predict_with_generate: Predictions are token ids that the model generates, instead of its outputs.
        generation_max_length: For ``predict_with_generate``: the longest result, as ``max_length`` of ``generate``;
            what the model's generation config says when None.
        generation_num_beams: For ``predict_with_generate``: the number of beams; what the model's generation config
            says when None.
        generation_config: A directory, a file or a model's name on the hub with a generation config that replaces the
            model's own.
        batch_eval_metrics: Call ``compute_metrics(prediction, compute_result=...)`` with each batch, and keep none of
            them; ``compute_result`` is True for the last one, whose result counts.
        include_for_metrics: What else ``compute_metrics`` gets: ``"inputs"`` (the model's main input), ``"loss"`` (for
            each sample the loss of its batch).

    Raises:
        SettingError: A value is out of range, contradicts another one, or cannot be written as JSON, as checkpoints do.
            The error names the argument, the value and what was expected. NumPy's numbers and paths become plain ones.
        UnknownArgumentError: There is no argument of that name.

    Example:
        >>> args = TFTrainingArguments(output_dir="out", learning_rate=3e-5, eval_strategy="epoch", run_name="bert")
        >>> args.report_to
        ['wandb']
    """

    output_dir: str = _option("trainer_output", "Where the model is written.")
    do_train: bool = _option(False, "For scripts: whether to train.")
    do_eval: bool = _option(False, "For scripts: whether to evaluate.")
    do_predict: bool = _option(False, "For scripts: whether to predict.")
    eval_strategy: Strategy = _option("no", "When to evaluate.")
    eval_steps: float | None = _option(None, "Steps between evaluations; below 1 a share of all steps.")
    per_device_train_batch_size: int = _option(8, "Samples of one step on one device.")
    per_device_eval_batch_size: int = _option(8, "Samples of one evaluation step on one device.")
    learning_rate: float = _option(5e-5, "The highest learning rate.")
    weight_decay: float = _option(0.0, "Weight decay of AdamW.")
    adam_beta1: float = _option(0.9, "Beta 1 of AdamW.")
    adam_beta2: float = _option(0.999, "Beta 2 of AdamW.")
    adam_epsilon: float = _option(1e-8, "Epsilon of AdamW.")
    max_grad_norm: float = _option(1.0, "Global norm to which gradients are clipped; 0 does not clip.")
    num_train_epochs: float = _option(3.0, "Epochs to train.")
    max_steps: int = _option(-1, "Steps to train, if positive; wins over num_train_epochs.")
    lr_scheduler_type: Schedule = _option("linear", "How the learning rate falls.")
    warmup_ratio: float = _option(0.0, "Share of all steps over which the learning rate rises from 0.")
    warmup_steps: int = _option(0, "Steps over which the learning rate rises from 0; wins over warmup_ratio.")
    logging_strategy: Strategy = _option("steps", "When to log.")
    logging_first_step: bool = _option(False, "Also log the first step.")
    logging_steps: float = _option(500, "Steps between rows; below 1 a share of all steps.")
    save_strategy: SaveStrategy = _option("steps", "When to save a checkpoint.")
    save_steps: float = _option(500, "Steps between checkpoints; below 1 a share of all steps.")
    save_total_limit: int | None = _option(None, "How many checkpoints to keep.")
    link_to_registry: str | None = _option(None, "Collection of W&B's model registry for the model at the end.")
    delete_superseded: bool = _option(False, "Delete checkpoints beyond save_total_limit on W&B, too.")
    load_best_model_at_end: bool = _option(False, "End with the weights of the best checkpoint.")
    metric_for_best_model: str | None = _option(None, "The metric that tells what is best.")
    greater_is_better: bool | None = _option(None, "Whether higher is better; by the metric's name when not given.")
    resume_from_checkpoint: str | None = _option(None, "For scripts: a checkpoint to resume from, or True.")
    full_determinism: bool = _option(False, "Compute the same bits every time.")
    seed: int = _option(42, "Seed of initialisation, dropout and sample order.")
    data_seed: int | None = _option(None, "Seed of the sample order.")
    dataloader_drop_last: bool = _option(False, "Drop the smaller last batch of an epoch.")
    run_name: str | None = _option(None, "Name of the W&B run.")
    # HfArgumentParser takes the second type of a union of three.
    report_to: None | str | list[str] = _option(None, "wandb, none, all, or a list.")  # noqa: RUF036
    remove_unused_columns: bool = _option(True, "Drop columns that the model does not take.")
    label_names: list[str] | None = _option(None, "Columns that are labels.")
    disable_tqdm: bool = _option(False, "No progress bar.")
    predict_with_generate: bool = _option(False, "Predict by generating.")
    generation_max_length: int | None = _option(None, "Longest result with predict_with_generate.")
    generation_num_beams: int | None = _option(None, "Number of beams with predict_with_generate.")
    generation_config: str | None = _option(None, "Directory, file or model name of a generation config.")
    batch_eval_metrics: bool = _option(False, "Compute metrics batch by batch.")
    include_for_metrics: list[str] = _option([], "What else compute_metrics gets: inputs, loss.")

    _is_direction_given = False  # Not a field: whether ``greater_is_better`` was given.

    def __new__(cls: type[_Arguments], *values: Any, **named: Any) -> _Arguments:
        """Refuse names that do not exist with advice, before Python does so without any."""
        refuse_unknown(cls, named)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check every value before any time is spent."""
        self._is_direction_given = self.greater_is_better is not None
        self.check()

    def check(self) -> None:
        """Check every value, and make it a plain one that JSON can write. Call it after setting a value.

        Raises:
            SettingError: A value cannot be used.
        """
        self.output_dir = directory("output_dir", self.output_dir)
        for each in dataclasses.fields(self):
            setattr(self, each.name, plain(each.name, getattr(self, each.name)))
        self.report_to = parse_report_to(self.report_to)
        if isinstance(self.include_for_metrics, str):
            self.include_for_metrics = [self.include_for_metrics]
        check_values(self)
        if self.load_best_model_at_end and self.metric_for_best_model is None:
            self.metric_for_best_model = "loss"
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = higher_is_better(self.metric_for_best_model)
        check_combinations(self)

    @property
    def stated_direction(self) -> bool | None:
        """What ``greater_is_better`` was given as; None if it is a guess by the metric's name.

        A metric that the model was compiled with knows better than such a guess.
        """
        return self.greater_is_better if self._is_direction_given else None

    @property
    def eval_interval(self) -> float:
        """The interval of evaluations by steps."""
        return self.logging_steps if self.eval_steps is None else self.eval_steps

    def warmup(self, total_steps: int) -> int:
        """The number of warm-up steps among ``total_steps``, as transformers counts them."""
        return self.warmup_steps if self.warmup_steps > 0 else math.ceil(total_steps * self.warmup_ratio)

    def to_dict(self) -> dict[str, Any]:
        """All arguments as plain values, with secrets masked."""
        values: dict[str, Any] = mask(dataclasses.asdict(self))
        return values

    def to_json_string(self) -> str:
        """All arguments as JSON."""
        return json.dumps(self.to_dict(), indent=2)


def steps_of(interval: float, total_steps: int) -> int:
    """An interval in steps: a share below 1 is taken of all steps.

    Example:
        >>> steps_of(500, 1000), steps_of(0.1, 1000)
        (500, 100)
    """
    return int(interval) if interval >= 1 else max(1, math.ceil(interval * total_steps))
