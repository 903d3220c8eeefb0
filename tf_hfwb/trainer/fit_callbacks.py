"""The callbacks of a training: those that the arguments ask for, and the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from tf_hfwb.callbacks.callback_checks import check_callbacks, has
from tf_hfwb.callbacks.callback_order import in_order
from tf_hfwb.callbacks.model_checkpoint import WandbModelCheckpoint
from tf_hfwb.callbacks.row_logger import RowLogger
from tf_hfwb.callbacks.weight_watch import WandbWatch
from tf_hfwb.errors import SettingError
from tf_hfwb.fit.evaluate_during_fit import EvaluateDuringFit
from tf_hfwb.fit.finite_losses import FiniteLosses
from tf_hfwb.fit.keras_callback_states import KerasCallbackStates
from tf_hfwb.fit.plateau_rate import ReduceRateOnPlateau
from tf_hfwb.fit.stop_after_steps import StopAfterSteps
from tf_hfwb.keras_compat import has_callbacks_of_others
from tf_hfwb.settings import LogModel, Settings, Watch
from tf_hfwb.step_policies import Never
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments, steps_of
from tf_hfwb.trainer.dataset_evaluation import with_prefix
from tf_hfwb.trainer.progress.training_progress import ProgressPause, TrainingProgress
from tf_hfwb.trainer.trainer_events.callback_events import check_events, is_trainer_callback, make_callback
from tf_hfwb.trainer.trainer_events.event_dispatch import TrainerEvents
from tf_hfwb.trainer.trainer_events.flow_callbacks import FlowCheckpoints, flow_callbacks
from tf_hfwb.trainer.trainer_events.training_flow import FlowParts
from tf_hfwb.trainer.trainer_events.training_log import TrainingLog
from tf_hfwb.trainer.training_plan import TrainingPlan


def check_trainer_callbacks(callbacks: Any, args: TFTrainingArguments) -> list[Any]:
    """The user's callbacks as a list, if each of them goes with those that the arguments ask for.

    Callbacks of transformers stand beside those of Keras. A class is replaced by an object of it.

    Raises:
        SettingError: One of them does not.
    """
    if callbacks is None:
        return []
    if isinstance(callbacks, str) or not isinstance(callbacks, Iterable):
        check_callbacks(callbacks)  # Says so.
    everyone = [make_callback(callback) for callback in callbacks]
    check_events([one for one in everyone if is_trainer_callback(one)], args.report_to or ())
    own = check_callbacks(keras_callbacks(everyone))
    names = [type(callback).__name__ for callback in own]
    if has(own, RowLogger):
        raise SettingError(
            "callbacks",
            names,
            expected=f"no {_name_of(own, RowLogger)}: the trainer makes it, by report_to, logging_steps and run_name",
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
    return everyone


def keras_callbacks(callbacks: Sequence[Any]) -> list[Any]:
    """Those of the user's callbacks that ``fit`` takes."""
    return [one for one in callbacks if not is_trainer_callback(one)]


def _name_of(callbacks: Sequence[Any], kind: type) -> str:
    return next(type(one).__name__ for one in callbacks if isinstance(one, kind))


def find_callback(callbacks: Sequence[Any], wanted: Any) -> Any:
    """The first of the callbacks that is the wanted one, or of the wanted class; None if there is none.

    Follows ``CallbackHandler.pop_callback`` of transformers.
    """
    is_class = isinstance(wanted, type)
    return next((one for one in callbacks if (isinstance(one, wanted) if is_class else one is wanted)), None)


def may_add_metrics(model: Any, callbacks: Sequence[Any]) -> bool:
    """Whether a callback of the user may add metrics to those of an evaluation within the ``fit`` that is running.

    Args:
        model: The model.
        callbacks: The user's callbacks.
    """
    return has(callbacks, EvaluateDuringFit) or has_callbacks_of_others(model)


def create_callbacks(
    plan: TrainingPlan,
    own: Sequence[Any],
    *,
    events: TrainerEvents,
    logger: RowLogger | None,
    evaluate: Callable[[], Mapping[str, Any]],
    processing_class: Any,
    progress: TrainingProgress | None,
) -> list[Any]:
    """The callbacks that the arguments ask for and the user's, in an order that works.

    Where callbacks of transformers may change the course of the training, a flow decides when those that log, evaluate
    and save do so.

    Args:
        plan: What the training is going to do.
        own: The user's callbacks of Keras, and the trainer's own.
        events: The user's callbacks of transformers.
        logger: What logs; None if nothing does.
        evaluate: Evaluates the model as it is.
        processing_class: The tokenizer or processor, saved with the model.
        progress: Shows how far the training is; None where nothing does.
    """
    args, total_steps = plan.args, plan.length.steps
    has_flow = events.follow_training
    callbacks: list[Any] = []
    if logger is not None:
        callbacks.append(logger)
        if Settings.resolve().watch is not Watch.FALSE and not has(own, WandbWatch):
            callbacks.append(WandbWatch(log_freq=max(100, steps_of(args.logging_steps, total_steps))))
    evaluations = _evaluations(plan, evaluate, has_flow=has_flow) if args.evaluates else None
    plateau = _plateau(args) if args.lr_scheduler_type == "reduce_lr_on_plateau" else None
    stop = StopAfterSteps(total_steps)
    checkpoints = None
    if not has(own, WandbModelCheckpoint):
        is_logged = logger is not None and logger.reports_to_wandb and _is_model_logged(args)
        kind = _flow_checkpoints(args) if has_flow else WandbModelCheckpoint
        if args.save_strategy != "no":
            checkpoints = _checkpoints(kind, plan, processing_class)
        elif is_logged or (has_flow and events.may_want_checkpoints):
            checkpoints = _model_at_end(kind, args, processing_class, is_logged=is_logged)
    callbacks += [one for one in (evaluations, plateau, FiniteLosses(), *own, stop, checkpoints) if one is not None]
    if has(callbacks, WandbModelCheckpoint):
        callbacks.append(KerasCallbackStates(own))
    if progress is not None:
        progress.end_with(stop)
        callbacks = [ProgressPause(progress), *callbacks, progress]
    if not has_flow:
        return in_order([TrainingLog(events, plan, stop), *callbacks])
    saver = checkpoints if isinstance(checkpoints, FlowCheckpoints) else None
    parts = FlowParts(logger, evaluate, evaluations, saver, stop)
    begin, end = flow_callbacks(events, plan, parts)
    return in_order([begin, *callbacks, end])


def _evaluations(plan: TrainingPlan, evaluate: Callable[[], Mapping[str, Any]], *, has_flow: bool) -> EvaluateDuringFit:
    args = plan.args
    if has_flow:
        return EvaluateDuringFit(evaluate, Never(), on_start=args.eval_on_start)
    return EvaluateDuringFit(
        evaluate,
        plan.eval_policy,
        each_epoch=args.eval_strategy == "epoch",
        first_epoch=args.eval_delay,
        on_start=args.eval_on_start,
    )


def _plateau(args: TFTrainingArguments) -> ReduceRateOnPlateau:
    return ReduceRateOnPlateau(with_prefix(args.metric_for_best_model or "loss", "eval"), args.schedule_options())


def _flow_checkpoints(args: TFTrainingArguments) -> Callable[..., WandbModelCheckpoint]:
    """Makes what saves when a flow says so, of the arguments of ``WandbModelCheckpoint``."""

    def make(output_dir: str, **options: Any) -> WandbModelCheckpoint:
        options["save_best_only"] = False  # The flow knows which is the best.
        if options["save_freq"] != "no":
            options["save_freq"] = 1
        return FlowCheckpoints(output_dir, saves_last=args.save_strategy == "steps", **options)

    return make


def _is_model_logged(args: TFTrainingArguments) -> bool:
    """Whether the model at the end is logged, whether checkpoints are saved or not, as transformers' Trainer does."""
    return Settings.resolve().log_model is not LogModel.FALSE or args.link_to_registry is not None


def _model_at_end(
    kind: Callable[..., WandbModelCheckpoint], args: TFTrainingArguments, processing_class: Any, *, is_logged: bool
) -> WandbModelCheckpoint:
    return kind(
        args.output_dir,
        save_freq="no",
        log_model=None if is_logged else "false",
        link_to_registry=args.link_to_registry,
        processing_class=processing_class,
    )


def _checkpoints(
    kind: Callable[..., WandbModelCheckpoint], plan: TrainingPlan, processing_class: Any
) -> WandbModelCheckpoint:
    args = plan.args
    strategy, interval = args.save_strategy, args.save_steps
    if strategy == "best":  # The best is known where an evaluation was made.
        strategy, interval = args.eval_strategy, args.eval_interval
    modes: dict[bool | None, Literal["auto", "min", "max"]] = {None: "auto", True: "max", False: "min"}
    metric = args.metric_for_best_model
    is_tracked = "wandb" in (args.report_to or ())
    return kind(
        args.output_dir,
        save_freq="epoch" if strategy == "epoch" else steps_of(interval, plan.length.steps),
        monitor=None if metric is None else with_prefix(metric, "eval"),
        mode=modes[args.stated_direction],
        save_best_only=args.save_strategy == "best",
        save_only_model=args.save_only_model,
        save_total_limit=args.save_total_limit,
        log_model=None if is_tracked else "false",
        link_to_registry=args.link_to_registry,
        delete_superseded=args.delete_superseded,
        processing_class=processing_class,
        load_best_at_end=args.load_best_model_at_end,
        arguments=plan.checkpoint_arguments,
    )
