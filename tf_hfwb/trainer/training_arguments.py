"""``TFTrainingArguments``: what a ``TFTrainer`` does, as plain values that a command line can set."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from tf_hfwb.errors import SettingError, UnknownArgumentError
from tf_hfwb.masking import mask
from tf_hfwb.step_policies import higher_is_better
from tf_hfwb.validation.argument_checks import directory, plain

# HfArgumentParser makes the choices of a flag of a Literal.
Strategy = Literal["no", "steps", "epoch"]
SaveStrategy = Literal["no", "steps", "epoch", "best"]
Schedule = Literal["linear", "cosine", "constant", "constant_with_warmup"]

INTEGRATIONS = ("wandb",)
INCLUDABLE = ("inputs", "loss")  # In what compute_metrics gets.


_Arguments = TypeVar("_Arguments", bound="TFTrainingArguments")


def _option(default: Any, help: str) -> Any:
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass
class TFTrainingArguments:
    """The arguments of a training, named as in transformers' ``TrainingArguments`` and with its defaults.

    An argument of the PyTorch ``Trainer`` that is missing here is not supported yet; nothing is accepted and ignored.
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
        adam_beta2: The second.
        adam_epsilon: The stabiliser of AdamW.
        max_grad_norm: The global norm to which gradients are clipped; 0 does not clip.
        num_train_epochs: Epochs to train, fractions included.
        max_steps: Steps to train, if positive; wins over ``num_train_epochs``.
        lr_scheduler_type: ``"linear"``, ``"cosine"``, ``"constant"`` or ``"constant_with_warmup"``.
        warmup_ratio: The share of all steps over which the rate rises from 0.
        warmup_steps: The same in steps; wins over ``warmup_ratio``.
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
        greater_is_better: Whether more of it is better. When None it is set by the metric's name, as to False for a
            loss or an error rate; a metric that the model was compiled with then says itself what is better.
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
        generation_num_beams: For ``predict_with_generate``: the number of beams; the same when None.
        generation_config: A directory, a file or a model's name on the hub with a generation config that replaces the
            model's own.
        batch_eval_metrics: Call ``compute_metrics(prediction, compute_result=...)`` with each batch, and keep none of
            them; ``compute_result`` is True for the last one, whose result counts.
        include_for_metrics: What else ``compute_metrics`` gets: ``"inputs"`` (the model's main input), ``"loss"`` (for
            each sample the loss of its batch).

    Raises:
        SettingError: A value is out of range; it names the argument, the value and what was expected. So does one that
            JSON cannot write, as checkpoints do; NumPy's numbers and paths become plain ones.
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
    greater_is_better: bool | None = _option(None, "Whether more of it is better; by its name when not given.")
    resume_from_checkpoint: str | None = _option(None, "For scripts: a checkpoint to go on from, or True.")
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

    def __new__(cls: type[_Arguments], *values: Any, **named: Any) -> _Arguments:
        """Refuse arguments that do not exist in the words in which others are refused."""
        parameters = inspect.signature(cls.__init__).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            for name, value in named.items():
                if name not in parameters:
                    raise UnknownArgumentError(
                        name,
                        value,
                        expected=f"an argument of {cls.__name__}",
                        advice=_instead_of(name, [*parameters][1:]),
                    )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check every value before any time is spent."""
        # A metric that the model was compiled with knows better than a guess by its name.
        self._is_direction_given = self.greater_is_better is not None
        self.check()

    def check(self) -> None:
        """Check every value, and make it a plain one that JSON can write; once more where one was set afterwards.

        Raises:
            SettingError: A value cannot be used.
        """
        self.output_dir = directory("output_dir", self.output_dir)
        for each in dataclasses.fields(self):
            setattr(self, each.name, plain(each.name, getattr(self, each.name)))
        self.report_to = _integrations(self.report_to)
        for name in ("eval_strategy", "logging_strategy"):
            self._one_of(name, "no", "steps", "epoch")
        self._one_of("save_strategy", "no", "steps", "epoch", "best")
        self._check("save_steps", _is_interval, "a number of steps, 1 or more, or a share of all steps below 1")
        self._check(
            "save_total_limit",
            lambda v: v is None or (type(v) is int and v >= 1),
            "a number of checkpoints, 1 or more, or None to keep all",
        )
        if self.delete_superseded and self.save_total_limit is None:
            raise SettingError(
                "delete_superseded", True, expected="False without a limit", advice="Set save_total_limit."
            )
        self._check(
            "link_to_registry", lambda v: v is None or (isinstance(v, str) and v), "a collection's name, or None"
        )
        if self.link_to_registry is not None and "wandb" not in self.report_to:
            raise SettingError("link_to_registry", self.link_to_registry, expected="None without report_to='wandb'")
        self._check("greater_is_better", lambda v: v is None or isinstance(v, bool), "True, False, or None")
        self._check("metric_for_best_model", lambda v: v is None or isinstance(v, str), "the name of a metric, or None")
        self._check_best()
        self._one_of("lr_scheduler_type", "linear", "cosine", "constant", "constant_with_warmup")
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size"):
            self._check(name, lambda v: isinstance(v, int) and v >= 1, "a number of samples, 1 or more")
        for name in ("learning_rate", "weight_decay", "adam_epsilon", "max_grad_norm"):
            self._check(name, lambda v: math.isfinite(v) and v >= 0, "a finite number, 0 or more")
        for name in ("adam_beta1", "adam_beta2"):
            self._check(name, lambda v: 0 <= v < 1, "a number from 0 to below 1")
        self._check("warmup_ratio", lambda v: 0 <= v <= 1, "a number between 0 and 1")
        self._check("warmup_steps", lambda v: isinstance(v, int) and v >= 0, "a number of steps, 0 or more")
        self._check("max_steps", lambda v: isinstance(v, int), "a number of steps, or -1 to train by epochs")
        self._check("seed", lambda v: isinstance(v, int) and 0 <= v < 2**32, "an integer from 0 to 2**32 - 1")
        self._check("data_seed", lambda v: v is None or isinstance(v, int), "an integer, or None to take seed")
        self._check("num_train_epochs", lambda v: math.isfinite(v) and v > 0, "a number of epochs above 0")
        self._check("logging_steps", _is_interval, "a number of steps, 1 or more, or a share of all steps below 1")
        for name in ("generation_max_length", "generation_num_beams"):
            self._check(name, lambda v: v is None or (isinstance(v, int) and v >= 1), "a number, 1 or more, or None")
        if isinstance(self.include_for_metrics, str):
            self.include_for_metrics = [self.include_for_metrics]
        for word in self.include_for_metrics:
            if word not in INCLUDABLE:
                raise SettingError("include_for_metrics", word, accepted=INCLUDABLE)
        if self.eval_steps is not None:
            self._check("eval_steps", _is_interval, "a number of steps, 1 or more, or a share of all steps below 1")

    def _check_best(self) -> None:
        """What is best must be known when it is saved."""
        if self.load_best_model_at_end and self.metric_for_best_model is None:
            self.metric_for_best_model = "loss"
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = higher_is_better(self.metric_for_best_model)
        if self.save_strategy == "best":
            if self.metric_for_best_model is None:
                raise SettingError("metric_for_best_model", None, expected="a metric, with save_strategy='best'")
            if self.eval_strategy == "no":
                raise SettingError("eval_strategy", "no", expected="'steps' or 'epoch', with save_strategy='best'")
        elif self.load_best_model_at_end:
            if self.save_strategy != self.eval_strategy or self.save_strategy == "no":
                raise SettingError(
                    "save_strategy",
                    self.save_strategy,
                    expected=f"the same as eval_strategy={self.eval_strategy!r}, and not 'no', with "
                    "load_best_model_at_end",
                    advice="Only a checkpoint at an evaluated step can be the best one.",
                )
            if self.save_strategy == "steps" and not _is_multiple(self.save_steps, self.eval_interval):
                raise SettingError(
                    "save_steps",
                    self.save_steps,
                    expected=f"a multiple of eval_steps={self.eval_interval}, with load_best_model_at_end",
                )

    def _one_of(self, name: str, *words: str) -> None:
        value = getattr(self, name)
        if value not in words:
            raise SettingError(name, value, accepted=words)
        setattr(self, name, words[words.index(value)])  # A word of transformers' enums becomes a plain one.

    def _check(self, name: str, is_good: Any, expected: str) -> None:
        value = getattr(self, name)
        try:
            good = is_good(value)
        except TypeError:
            good = False
        if not good:
            raise SettingError(name, value, expected=expected)

    @property
    def stated_direction(self) -> bool | None:
        """What ``greater_is_better`` was given as; None if it was left to be found out."""
        return self.greater_is_better if self._is_direction_given else None

    @property
    def eval_interval(self) -> float:
        """The interval of evaluations by steps."""
        return self.logging_steps if self.eval_steps is None else self.eval_steps

    def warmup(self, total_steps: int) -> int:
        """The number of warm-up steps among ``total_steps``, as transformers counts them."""
        return self.warmup_steps if self.warmup_steps > 0 else math.ceil(total_steps * self.warmup_ratio)

    def to_dict(self) -> dict[str, Any]:
        """All arguments as plain values, secrets masked."""
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


def _instead_of(name: str, known: list[str]) -> str:
    """What to do about an argument that does not exist."""
    from transformers import Seq2SeqTrainingArguments

    if any(each.name == name for each in dataclasses.fields(Seq2SeqTrainingArguments)):
        return "transformers' TrainingArguments have it, and it is not supported here yet. Leave it out."
    similar = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {similar[0]!r}?" if similar else "help(TFTrainingArguments) lists them."


def _is_multiple(interval: float, of: float) -> bool:
    ratio = interval / of
    return (interval < 1) == (of < 1) and abs(ratio - round(ratio)) < 1e-9


def _is_interval(value: float) -> bool:
    return value > 0 and (value < 1 or float(value).is_integer())


def _integrations(report_to: str | list[str] | None) -> list[str]:
    if report_to is None or report_to in ("all", ["all"]):
        return list(INTEGRATIONS)
    if report_to in ("none", ["none"], []):
        return []
    names = [report_to] if isinstance(report_to, str) else list(report_to)
    if len(names) > 1 and {"none", "all"}.intersection(names):
        raise SettingError("report_to", report_to, expected="'none' or 'all' by itself, or a list of integrations")
    for name in names:
        if name not in INTEGRATIONS:
            raise SettingError("report_to", name, accepted=[*INTEGRATIONS, "none", "all"])
    return names
