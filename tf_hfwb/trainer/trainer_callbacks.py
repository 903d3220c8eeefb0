"""The callbacks of a training: those that the arguments ask for, and the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tf_hfwb.callbacks.callback_checks import checked_callbacks, has
from tf_hfwb.callbacks.callback_order import in_order
from tf_hfwb.callbacks.metrics_logger import WandbMetricsLogger
from tf_hfwb.callbacks.model_checkpoint import WandbModelCheckpoint
from tf_hfwb.callbacks.weight_watch import WandbWatch
from tf_hfwb.errors import SettingError
from tf_hfwb.fit.evaluate_during_fit import EvaluateDuringFit
from tf_hfwb.fit.keras_callback_states import KerasCallbackStates
from tf_hfwb.fit.stop_after_steps import StopAfterSteps
from tf_hfwb.keras_compat import has_callbacks_of_others
from tf_hfwb.settings import LogModel, Settings, Watch
from tf_hfwb.step_policies import EverySteps, Never
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments, steps_of
from tf_hfwb.trainer.trainer_evaluation import with_prefix


def check_trainer_callbacks(callbacks: Any, args: TFTrainingArguments) -> list[Any]:
    """The user's callbacks as a list, if each of them goes with those that the arguments ask for.

    Raises:
        SettingError: One of them does not.
    """
    own = checked_callbacks(callbacks)
    names = [type(callback).__name__ for callback in own]
    if has(own, WandbMetricsLogger):
        raise SettingError(
            "callbacks",
            names,
            expected="no WandbMetricsLogger: the trainer makes it, by report_to, logging_steps and run_name",
            advice="Take it out of the list.",
        )
    if has(own, WandbModelCheckpoint) and args.save_strategy != "no":
        raise SettingError(
            "callbacks",
            names,
            expected=f"no WandbModelCheckpoint beside the one that save_strategy={args.save_strategy!r} asks for",
            advice="Take it out of the list, or set save_strategy='no'.",
        )
    if has(own, WandbModelCheckpoint) and args.link_to_registry is not None:
        raise SettingError(
            "link_to_registry",
            args.link_to_registry,
            expected="None beside your own WandbModelCheckpoint, which logs the model",
            advice="Pass it to that one, or take that one out of the list.",
        )
    return own


def may_add_metrics(model: Any, callbacks: Sequence[Any]) -> bool:
    """Whether a callback of the user may add metrics to those of an evaluation within the ``fit`` that is running.

    Args:
        model: The model.
        callbacks: The user's callbacks.
    """
    return has(callbacks, EvaluateDuringFit) or has_callbacks_of_others(model)


def create_callbacks(
    args: TFTrainingArguments,
    own: Sequence[Any],
    *,
    total_steps: int,
    logger: WandbMetricsLogger | None,
    evaluate: Callable[[], Mapping[str, Any]],
    arguments: Mapping[str, Any],
    processing_class: Any,
) -> list[Any]:
    """The callbacks that the arguments ask for and the user's, in an order that works.

    Args:
        args: The arguments.
        own: The user's callbacks, and the trainer's own.
        total_steps: The steps of the whole training.
        logger: What logs; None if nothing does.
        evaluate: Evaluates the model as it is.
        arguments: What a checkpoint says of the arguments and the data.
        processing_class: The tokenizer or processor, saved with the model.
    """
    callbacks: list[Any] = []
    if logger is not None:
        callbacks.append(logger)
        if Settings.resolve().watch is not Watch.FALSE and not has(own, WandbWatch):
            callbacks.append(WandbWatch(log_freq=max(100, steps_of(args.logging_steps, total_steps))))
    if args.eval_strategy != "no":
        callbacks.append(_evaluations(args, total_steps, evaluate))
    callbacks += [*own, StopAfterSteps(total_steps)]
    if args.save_strategy != "no":
        callbacks.append(_checkpoints(args, total_steps, arguments, processing_class))
    elif logger is not None and _is_model_logged(args) and not has(own, WandbModelCheckpoint):
        callbacks.append(_model_at_end(args, processing_class))
    if has(callbacks, WandbModelCheckpoint):
        callbacks.append(KerasCallbackStates(own))
    return in_order(callbacks)


def _evaluations(
    args: TFTrainingArguments, total_steps: int, evaluate: Callable[[], Mapping[str, Any]]
) -> EvaluateDuringFit:
    if args.eval_strategy == "epoch":
        return EvaluateDuringFit(evaluate, Never(), each_epoch=True)
    return EvaluateDuringFit(evaluate, EverySteps(steps_of(args.eval_interval, total_steps)), each_epoch=False)


def _is_model_logged(args: TFTrainingArguments) -> bool:
    """Whether the model at the end is logged, whether checkpoints are saved or not, as transformers' Trainer does."""
    return Settings.resolve().log_model is not LogModel.FALSE or args.link_to_registry is not None


def _model_at_end(args: TFTrainingArguments, processing_class: Any) -> WandbModelCheckpoint:
    return WandbModelCheckpoint(
        args.output_dir,
        save_freq="no",
        link_to_registry=args.link_to_registry,
        processing_class=processing_class,
    )


def _checkpoints(
    args: TFTrainingArguments, total_steps: int, arguments: Mapping[str, Any], processing_class: Any
) -> WandbModelCheckpoint:
    strategy, interval = args.save_strategy, args.save_steps
    if strategy == "best":  # The best is known where an evaluation was made.
        strategy, interval = args.eval_strategy, args.eval_interval
    modes: dict[bool | None, Literal["auto", "min", "max"]] = {None: "auto", True: "max", False: "min"}
    metric = args.metric_for_best_model
    is_tracked = "wandb" in (args.report_to or ())
    return WandbModelCheckpoint(
        args.output_dir,
        save_freq="epoch" if strategy == "epoch" else steps_of(interval, total_steps),
        monitor=None if metric is None else with_prefix(metric, "eval"),
        mode=modes[args.stated_direction],
        save_best_only=args.save_strategy == "best",
        save_total_limit=args.save_total_limit,
        log_model=None if is_tracked else "false",
        link_to_registry=args.link_to_registry,
        delete_superseded=args.delete_superseded,
        processing_class=processing_class,
        load_best_at_end=args.load_best_model_at_end,
        arguments=arguments,
    )
