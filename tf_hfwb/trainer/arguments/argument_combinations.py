"""Which values of ``TFTrainingArguments`` contradict each other. Each value by itself has been checked before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_hfwb.errors import SettingError

if TYPE_CHECKING:
    from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments


def check_combinations(args: TFTrainingArguments) -> None:
    """Check values against each other.

    Raises:
        SettingError: Two of them contradict each other.
    """
    _check_precision(args)
    _check_debugging(args)
    _check_schedule(args)
    _check_plateau(args)
    _check_deletion(args)
    _check_tpu(args)
    _check_prefetching(args)
    _check_registry(args)
    _check_saving_the_best(args)
    _check_loading_the_best(args)


def _check_precision(args: TFTrainingArguments) -> None:
    for name, other in (("fp16", "bf16"), ("fp16_full_eval", "bf16_full_eval")):
        if getattr(args, name) and getattr(args, other):
            raise SettingError(name, True, expected=f"False with {other}=True", advice="Choose one of them.")


def _check_debugging(args: TFTrainingArguments) -> None:
    """A scaled loss overflows now and then, which is how the scale is found; XLA has no checks of numbers."""
    for name in ("fp16", "xla"):
        if args.debug and getattr(args, name):
            raise SettingError("debug", args.debug, expected=f"'' with {name}=True", advice=f"Set {name}=False for it.")


def _check_schedule(args: TFTrainingArguments) -> None:
    """Options must be those of the schedule, and end below the highest rate."""
    kind, given, options = args.lr_scheduler_type, args.lr_scheduler_kwargs or {}, args.schedule_options()
    if args.poly_power != 1.0 and (kind not in ("linear", "polynomial") or "power" in given):
        raise SettingError(
            "poly_power",
            args.poly_power,
            expected=f"1.0 with lr_scheduler_type={kind!r} and lr_scheduler_kwargs={args.lr_scheduler_kwargs!r}",
            advice="It is the power of 'polynomial' and of 'linear'; set it once.",
        )
    least = options.get("lr_end")
    if kind.endswith("with_min_lr") and options["min_lr"] is not None:
        least = 0.0  # By which the formulas divide.
    if least is not None and args.learning_rate <= least:
        raise SettingError("learning_rate", args.learning_rate, expected=f"more than {least}, with {kind!r}")


def _check_plateau(args: TFTrainingArguments) -> None:
    """Only an evaluation shows a plateau; by default one is where a metric does not fall, be it an accuracy."""
    if args.lr_scheduler_type != "reduce_lr_on_plateau":
        return
    if args.eval_strategy == "no":
        raise SettingError(
            "eval_strategy", "no", expected="'steps' or 'epoch', with lr_scheduler_type='reduce_lr_on_plateau'"
        )
    if args.greater_is_better and "mode" not in (args.lr_scheduler_kwargs or {}):
        raise SettingError(
            "lr_scheduler_kwargs",
            args.lr_scheduler_kwargs,
            expected=f"a mode, with metric_for_best_model={args.metric_for_best_model!r}: without one a value that "
            "rises counts as a plateau, as in transformers",
            advice="Pass lr_scheduler_kwargs={'mode': 'max'}, or 'min' if lower is better.",
        )


def _check_deletion(args: TFTrainingArguments) -> None:
    if args.delete_superseded and args.save_total_limit is None:
        raise SettingError("delete_superseded", True, expected="False without a limit", advice="Set save_total_limit.")


def _check_tpu(args: TFTrainingArguments) -> None:
    for name in ("tpu_zone", "gcp_project"):
        if args.tpu_name is None and getattr(args, name) is not None:
            raise SettingError(name, getattr(args, name), expected="None without tpu_name", advice="Set tpu_name.")


def _check_prefetching(args: TFTrainingArguments) -> None:
    if args.dataloader_prefetch_factor is not None and not args.dataloader_num_workers:
        raise SettingError(
            "dataloader_prefetch_factor",
            args.dataloader_prefetch_factor,
            expected="None without dataloader_num_workers, for each of which it counts",
            advice="Set dataloader_num_workers=1.",
        )


def _check_registry(args: TFTrainingArguments) -> None:
    if args.link_to_registry is not None and "wandb" not in (args.report_to or ()):
        raise SettingError("link_to_registry", args.link_to_registry, expected="None without report_to='wandb'")


def _check_saving_the_best(args: TFTrainingArguments) -> None:
    """Only an evaluation tells whether a checkpoint is the best so far."""
    if args.save_strategy != "best":
        return
    if args.metric_for_best_model is None:
        raise SettingError("metric_for_best_model", None, expected="a metric, with save_strategy='best'")
    if args.eval_strategy == "no":
        raise SettingError("eval_strategy", "no", expected="'steps' or 'epoch', with save_strategy='best'")


def _check_loading_the_best(args: TFTrainingArguments) -> None:
    """Each checkpoint must be at a step that is evaluated; with ``save_strategy='best'`` it always is."""
    if not args.load_best_model_at_end or args.save_strategy == "best":
        return
    if args.save_strategy != args.eval_strategy or args.save_strategy == "no":
        raise SettingError(
            "save_strategy",
            args.save_strategy,
            expected=f"the same as eval_strategy={args.eval_strategy!r}, and not 'no', with load_best_model_at_end",
            advice="Only a checkpoint at an evaluated step can be the best one.",
        )
    if args.save_strategy == "steps" and not _is_multiple(args.save_steps, args.eval_interval):
        raise SettingError(
            "save_steps",
            args.save_steps,
            expected=f"a multiple of eval_steps={args.eval_interval}, with load_best_model_at_end",
        )


def _is_multiple(interval: float, of: float) -> bool:
    """Whether it is one; a share of all steps is never a multiple of a number of steps, nor the other way round."""
    ratio = interval / of
    return (interval < 1) == (of < 1) and abs(ratio - round(ratio)) < 1e-9
