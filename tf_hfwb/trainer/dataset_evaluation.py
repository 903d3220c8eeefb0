"""How a trainer evaluates and predicts: one pass over each dataset, and the names of what it measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tf_hfwb.data import Batches
from tf_hfwb.errors import SettingError
from tf_hfwb.evaluation.batch_runner import BatchRunner
from tf_hfwb.evaluation.computed_metrics import ComputedMetrics, MetricsOfPass
from tf_hfwb.evaluation.metric_values import plain_value
from tf_hfwb.evaluation.prediction_pass import Pass
from tf_hfwb.evaluation.task_generation import TaskGenerator, generator_for
from tf_hfwb.evaluation.text_generation import Generator
from tf_hfwb.keras_compat import PassHooks, preserve_metrics
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments

if TYPE_CHECKING:
    from transformers.trainer_utils import EvalLoopOutput


@dataclass(frozen=True)
class EvaluationPlan:
    """What an evaluation does with the predictions.

    Attributes:
        computed: The user's ``compute_metrics``.
        generator: Generates the predictions; None: they are the model's outputs.
        loss_only: Whether no predictions are kept, and no metrics computed of them.
        ignored: The names of outputs that are not predictions; None for those that the model's configuration names.
    """

    computed: ComputedMetrics
    generator: Generator | TaskGenerator | None
    loss_only: bool
    ignored: frozenset[str] | None

    @property
    def generate(self) -> Callable[[Any], Any] | None:
        """From the inputs of a batch to what is generated, as predictions have it; None without a generator."""
        return self.generator.with_prompts if isinstance(self.generator, Generator) else self.generator


class DatasetEvaluation:
    """Evaluates and predicts for a trainer, and keeps what was compiled for that.

    A training that is under way is left exactly as it is.

    Args:
        model: A compiled model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._runner = BatchRunner(model)
        self._generators: dict[str, Generator | TaskGenerator] = {}
        self._warned: set[str] = set()  # Metrics of which the user was told that they are not numbers.

    def forget_compiled(self) -> None:
        """Compile anew from now on, because the model computes in another way."""
        self._runner = BatchRunner(self._model)
        self._generators = {}

    def lacks_labels(self, batches: Batches) -> bool:
        """Whether the model needs labels for its loss, and the dataset has none."""
        return self._runner.lacks_labels(batches.dataset)

    def plan(
        self,
        args: TFTrainingArguments,
        compute_metrics: Callable[..., Mapping[str, float]] | None,
        preprocess: Callable[[Any, Any], Any] | None,
        generate_options: Mapping[str, Any],
        ignore_keys: Sequence[str] | None,
    ) -> EvaluationPlan:
        """Decide what an evaluation does, and check that it can.

        Args:
            args: The trainer's arguments.
            compute_metrics: The user's function of all predictions, or None.
            preprocess: The user's function of the predictions and labels of a batch, or None.
            generate_options: Options of ``generate``, instead of those of ``args``.
            ignore_keys: The names of outputs that are not predictions, or None.

        Raises:
            SettingError: The model cannot do what the arguments ask for, or ``ignore_keys`` is a text.
        """
        if isinstance(ignore_keys, str):
            raise SettingError(
                "ignore_keys",
                ignore_keys,
                expected="a list of names of the model's outputs, or None",
                advice="Pass metric_key_prefix by its name.",
            )
        if "loss" in args.include_for_metrics and not self._runner.has_own_loss:
            raise SettingError(
                "include_for_metrics",
                "loss",
                expected="a model of transformers with its own loss: Keras tells no losses of batches",
                advice="Compute it in compute_metrics, from predictions and labels.",
            )
        generator = self._generator(args, generate_options)
        loss_only = args.prediction_loss_only
        computed = ComputedMetrics(
            None if loss_only else compute_metrics,
            preprocess=preprocess,
            by_batches=args.batch_eval_metrics,
            include=args.include_for_metrics,
            told=self._warned,
            joins=args.eval_do_concat_batches,
        )
        ignored = None if ignore_keys is None else frozenset(ignore_keys)
        return EvaluationPlan(computed, None if loss_only else generator, loss_only, ignored)

    def evaluate(
        self, plan: EvaluationPlan, batches: Batches, prefix: str, callbacks: Sequence[Any], *, predicts: bool
    ) -> EvalLoopOutput:
        """Evaluate one dataset.

        Args:
            plan: What to do.
            batches: The dataset.
            prefix: The first word of each metric's name.
            callbacks: Keras callbacks, whose ``on_test_...`` hooks are called.
            predicts: Whether to predict, too, for ``compute_metrics`` or for the caller.
        """
        metrics_of_pass = plan.computed.begin(plan.generate, ignored=plan.ignored)
        with preserve_metrics(self._model):
            result = self._runner.evaluate(
                batches.dataset,
                predict=predicts,
                gathering=metrics_of_pass.gathering,
                hooks=PassHooks(callbacks, "test"),
            )
        return _output(result, metrics_of_pass, prefix, batches)

    def predict(self, plan: EvaluationPlan, batches: Batches, prefix: str, callbacks: Sequence[Any]) -> EvalLoopOutput:
        """Predict one dataset, and evaluate where it has labels.

        Args:
            plan: What to do.
            batches: The dataset.
            prefix: The first word of each metric's name.
            callbacks: Keras callbacks, whose ``on_predict_...`` hooks are called.
        """
        metrics_of_pass = plan.computed.begin(plan.generate, keeps=not plan.loss_only, ignored=plan.ignored)
        with preserve_metrics(self._model):
            result = self._runner.predict(batches.dataset, metrics_of_pass.gathering, PassHooks(callbacks, "predict"))
        return _output(result, metrics_of_pass, prefix, batches)

    def _generator(self, args: TFTrainingArguments, options: Mapping[str, Any]) -> Generator | TaskGenerator | None:
        """What generates the predictions; the one that was compiled for the same options is used again."""
        given = {name: value for name, value in options.items() if value is not None}
        defaults: dict[str, Any] = {"num_beams": args.generation_num_beams}
        if not args.predict_with_generate:
            known = {**defaults, "max_length": args.generation_max_length}
            for name, value in options.items():
                if name in known and value == known[name]:  # Helpers pass on what the arguments say.
                    continue
                raise SettingError(name, value, expected="no option for generate, without predict_with_generate=True")
            return None
        if "max_length" not in given and "max_new_tokens" not in given:
            defaults["max_length"] = args.generation_max_length
        chosen = {**defaults, **given}
        key = repr(sorted(chosen.items()))
        if key not in self._generators:
            self._generators[key] = generator_for(self._model, **chosen)
        return self._generators[key]


def prepare_callbacks(callbacks: Sequence[Any], model: Any, batches: Batches) -> None:
    """Tell callbacks what they belong to, for an evaluation outside of a training.

    Args:
        callbacks: Keras callbacks.
        model: The model.
        batches: What is evaluated.
    """
    for callback in callbacks:
        callback.set_model(model)
        callback.set_params({"verbose": 0, "epochs": 1, "steps": batches.steps_per_epoch})


def check_best_metric(args: TFTrainingArguments, metrics: Mapping[str, Any]) -> None:
    """Refuse a metric for the best model that no evaluation gives.

    Args:
        args: The trainer's arguments.
        metrics: What an evaluation gave.

    Raises:
        SettingError: The metric is not among them.
    """
    metric = args.metric_for_best_model
    if metric is not None and with_prefix(metric, "eval") not in metrics:
        raise SettingError("metric_for_best_model", metric, accepted=sorted(metrics))


def with_prefix(name: str, prefix: str) -> str:
    """The metric's name with its first word, which is not repeated.

    Example:
        >>> with_prefix("loss", "eval"), with_prefix("eval_loss", "eval")
        ('eval_loss', 'eval_loss')
    """
    return name if name.startswith(f"{prefix}_") else f"{prefix}_{name}"


def with_rates(output: EvalLoopOutput, prefix: str, began: float, batches: Batches) -> dict[str, Any]:
    """The metrics of a pass with its runtime and its rates.

    Args:
        output: What the pass gave.
        prefix: The first word of each metric's name.
        began: When it began, by ``time.time()``.
        batches: What it went through.
    """
    from transformers.trainer_utils import speed_metrics

    return {**(output.metrics or {}), **speed_metrics(prefix, began, batches.num_samples, batches.steps_per_epoch)}


def _output(result: Pass, metrics_of_pass: MetricsOfPass, prefix: str, batches: Batches) -> EvalLoopOutput:
    """What a pass gave, with the metrics as plain values under their full names."""
    from transformers.trainer_utils import EvalLoopOutput

    metrics = {**result.metrics, **metrics_of_pass.results(result)}
    named = {with_prefix(name, prefix): plain_value(value) for name, value in metrics.items()}
    return EvalLoopOutput(result.predictions, result.labels, named, batches.num_samples or _num_samples(result))


def _num_samples(result: Pass) -> int | None:
    first = result.predictions
    while isinstance(first, tuple):
        first = first[0]
    return None if first is None else len(first)
