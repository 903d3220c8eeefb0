"""The callbacks that training arguments ask for, as ``wandb_callbacks`` makes those that the environment asks for."""

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
from tf_hfwb.settings import LogModel, Settings, Watch
from tf_hfwb.step_policies import EverySteps, Never
from tf_hfwb.trainer.training_arguments import TFTrainingArguments, steps_of


def checked_for_trainer(callbacks: Any, args: TFTrainingArguments) -> list[Any]:
    """The user's callbacks, if each of them can be one beside those of the arguments.

    Raises:
        SettingError: One of them cannot.
    """
    chosen = checked_callbacks(callbacks)
    names = [type(callback).__name__ for callback in chosen]
    if has(chosen, WandbMetricsLogger):
        raise SettingError(
            "callbacks",
            names,
            expected="no WandbMetricsLogger: the trainer makes it, by report_to, logging_steps and run_name",
            advice="Take it out of the list.",
        )
    if has(chosen, WandbModelCheckpoint) and args.save_strategy != "no":
        raise SettingError(
            "callbacks",
            names,
            expected=f"no WandbModelCheckpoint beside the one that save_strategy={args.save_strategy!r} asks for",
            advice="Take it out of the list, or set save_strategy='no'.",
        )
    return chosen


def callbacks_for(
    args: TFTrainingArguments,
    own: Sequence[Any],
    *,
    total_steps: int,
    logger: WandbMetricsLogger | None,
    evaluate: Callable[[], Mapping[str, Any]],
    arguments: Mapping[str, Any],
    processing_class: Any,
) -> list[Any]:
    """Those that the arguments ask for and the user's, in an order that works.

    Args:
        args: The arguments.
        own: The user's.
        total_steps: The steps of the whole training.
        logger: What logs; None if nothing does.
        evaluate: Evaluates the model as it is.
        arguments: What a checkpoint says of the arguments and the data.
        processing_class: The tokenizer or processor, saved with the model.
    """
    callbacks: list[Any] = []
    is_model_logged = False
    if logger is not None:
        settings = Settings.resolve()
        is_model_logged = settings.log_model is not LogModel.FALSE or args.link_to_registry is not None
        callbacks.append(logger)
        if settings.watch is not Watch.FALSE and not has(own, WandbWatch):
            callbacks.append(WandbWatch(log_freq=max(100, steps_of(args.logging_steps, total_steps))))
    if args.eval_strategy != "no":
        by_steps = EverySteps(steps_of(args.eval_interval, total_steps))
        policy = by_steps if args.eval_strategy == "steps" else Never()
        callbacks.append(EvaluateDuringFit(evaluate, policy, each_epoch=args.eval_strategy == "epoch"))
    callbacks += [*own, StopAfterSteps(total_steps)]
    if args.save_strategy != "no":
        callbacks.append(_checkpoints(args, total_steps, arguments, processing_class))
    elif is_model_logged and not has(own, WandbModelCheckpoint):
        # The model at the end is logged whatever is saved before, as the Trainer of transformers does it.
        callbacks.append(
            WandbModelCheckpoint(
                args.output_dir,
                save_freq="no",
                link_to_registry=args.link_to_registry,
                processing_class=processing_class,
            )
        )
    if has(callbacks, WandbModelCheckpoint):
        callbacks.append(KerasCallbackStates(own))
    return in_order(callbacks)


def _checkpoints(
    args: TFTrainingArguments, total_steps: int, arguments: Mapping[str, Any], processing_class: Any
) -> WandbModelCheckpoint:
    strategy, interval = args.save_strategy, args.save_steps
    if strategy == "best":
        strategy, interval = args.eval_strategy, args.eval_interval
    modes: dict[bool | None, Literal["auto", "min", "max"]] = {None: "auto", True: "max", False: "min"}
    metric = args.metric_for_best_model
    is_tracked = "wandb" in (args.report_to or ())
    return WandbModelCheckpoint(
        args.output_dir,
        save_freq="epoch" if strategy == "epoch" else steps_of(interval, total_steps),
        monitor=None if metric is None else prefixed(metric, "eval"),
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


def prefixed(name: str, prefix: str) -> str:
    """The metric's name behind the first word that it is to have.

    Example:
        >>> prefixed("loss", "eval"), prefixed("eval_loss", "eval")
        ('eval_loss', 'eval_loss')
    """
    return name if name.startswith(f"{prefix}_") else f"{prefix}_{name}"
