"""What ``TFTrainer`` refuses before any time is spent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.keras_compat import Host
from tf_hfwb.keras_compat.common_private import compile_arguments
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.validation.installed_packages import check_packages

_logger = logging.getLogger("tf_hfwb")


def check_given(
    model: Any, model_init: Any, args: Any, data_collator: Any, optimizer_cls_and_kwargs: Any, tb_writer: Any
) -> None:
    """Refuse arguments of the constructor that cannot be used; each is what was given under its name.

    Raises:
        MissingPackageError: transformers is not installed, whose callbacks and results a trainer has.
        SettingError: One cannot be used, or ``model`` and ``model_init`` are both given, or neither is.
    """
    check_packages("TFTrainer", "transformers", extra="transformers")
    _refuse_tb_writer(tb_writer)
    _refuse_optimizer_class(optimizer_cls_and_kwargs)
    _check_args_class(args)
    _check_model_source(model, model_init)
    _check_collator(data_collator)


def _check_collator(data_collator: Any) -> None:
    """Refuse a dataset in the place of the collator, where the former ``TFTrainer`` had it.

    Raises:
        SettingError: It cannot be called.
    """
    if data_collator is not None and not callable(data_collator):
        raise SettingError(
            "data_collator",
            type(data_collator).__name__,
            expected="a function that makes a batch of a list of samples, or None",
            advice="Pass datasets by name: train_dataset=..., eval_dataset=...",
        )


def _check_args_class(args: Any) -> None:
    """Refuse the arguments of another trainer.

    Raises:
        SettingError: They are neither None nor ``TFTrainingArguments``.
    """
    if args is not None and not isinstance(args, TFTrainingArguments):
        given = type(args)
        raise SettingError(
            "args",
            f"{given.__module__.partition('.')[0]}.{given.__qualname__}",  # Two libraries have such a class.
            expected="tf_hfwb.TFTrainingArguments, which takes the same arguments as transformers' classes",
            advice="Write TFTrainingArguments(...) in its place, with `from tf_hfwb import TFTrainingArguments`.",
        )


def _refuse_optimizer_class(optimizer_cls_and_kwargs: Any) -> None:
    """Refuse a class of PyTorch's optimizers with its arguments.

    Raises:
        SettingError: It was given.
    """
    if optimizer_cls_and_kwargs is not None:
        raise SettingError(
            "optimizer_cls_and_kwargs",
            optimizer_cls_and_kwargs,
            expected="None: a Keras optimizer is made with its schedule",
            advice="Pass optimizers=(optimizer, None) with an optimizer of the model's Keras.",
        )


def take_tokenizer(processing_class: Any, tokenizer: Any) -> Any:
    """The tokenizer or processor, which may have been given under its former name.

    Args:
        processing_class: What was given under the present name; None for nothing.
        tokenizer: What was given under the former one, likewise.

    Raises:
        SettingError: Both were given.
    """
    if tokenizer is None:
        return processing_class
    if processing_class is not None:
        raise SettingError(
            "tokenizer",
            type(tokenizer).__name__,
            expected="None beside processing_class, whose former spelling it is",
            advice="Pass processing_class alone.",
        )
    _logger.warning("tokenizer is a former spelling. Expected processing_class. Write processing_class=tokenizer.")
    return tokenizer


def _check_model_source(model: Any, model_init: Any) -> None:
    """Refuse a trainer with a model and a function that makes one, or with neither.

    Raises:
        SettingError: Both or neither are given.
    """
    if (model is None) == (model_init is None):
        raise SettingError(
            "model",
            None if model is None else type(model).__name__,
            expected="a model, or a function as model_init that makes it, and not both",
            advice="Pass one of them.",
        )


def _refuse_tb_writer(tb_writer: Any) -> None:
    """Refuse the writer of the former ``TFTrainer``.

    Raises:
        SettingError: It was given.
    """
    if tb_writer is not None:
        raise SettingError(
            "tb_writer",
            type(tb_writer).__name__,
            expected="None: the trainer makes its own writer",
            advice="Set report_to='tensorboard' and logging_dir.",
        )


def check_optimizers(host: Host, optimizers: tuple[Any, Any]) -> None:
    """Refuse an optimizer or a schedule that cannot train the model, and both of them together.

    Metrics that the model was compiled with must be of the model's own Keras, too.

    Args:
        host: The model.
        optimizers: The optimizer and the schedule; either may be None.

    Raises:
        SettingError: One belongs to the other Keras, or both are given.
    """
    optimizer, schedule = optimizers
    check_same_keras(host, "optimizers", "optimizers", optimizers)
    compiled = compile_arguments(host.model)
    for argument in ("metrics", "weighted_metrics"):
        check_same_keras(host, f"model.compile({argument})", "metrics", compiled.get(argument))
    if optimizer is not None and schedule is not None:
        raise SettingError(
            "optimizers",
            optimizers,
            expected="an optimizer or a schedule: in Keras an optimizer is made with its schedule",
            advice="Pass (optimizer, None) with the schedule inside, or (None, schedule) for AdamW.",
        )


def check_accumulation(host: Host, size: int, accumulation: int) -> None:
    """Refuse to accumulate gradients for an optimizer that does so itself, and for several optimizers.

    Args:
        host: The model.
        size: The batches of a step.
        accumulation: Over how many batches the user's optimizer accumulates itself.

    Raises:
        SettingError: It is one of them.
    """
    if size == 1:
        return
    if accumulation > 1:
        raise SettingError(
            "gradient_accumulation_steps",
            size,
            expected=f"1, because the optimizer itself accumulates over {accumulation} batches",
            advice="Make the optimizer without gradient_accumulation_steps, or leave it to that one.",
        )
    if host.other_optimizers():
        raise SettingError(
            "gradient_accumulation_steps",
            size,
            expected=f"1, because {type(host.model).__name__} has further optimizers "
            f"({', '.join(host.other_optimizers())}), whose updates would still be made for each batch",
            advice="Leave it out.",
        )


def check_loss(host: Host) -> None:
    """Refuse a model that has no loss.

    Raises:
        SettingError: It is not compiled, and does not compute a loss itself.
    """
    if not (host.is_compiled or host.computes_loss):
        raise SettingError(
            "model",
            type(host.model).__name__,
            expected="a compiled model, as this one has no loss of its own",
            advice="Call model.compile(loss=..., metrics=[...]) first; the trainer brings the optimizer.",
        )


def check_tpu(host: Host, args: TFTrainingArguments) -> None:
    """Refuse a model that is elsewhere than on the TPU that the arguments name.

    Raises:
        SettingError: It was not created in the scope of the TPU's strategy.
    """
    if args.tpu_name is not None and not host.is_on_tpu:
        raise SettingError(
            "tpu_name",
            args.tpu_name,
            expected=f"None for this {type(host.model).__name__}, which is not on a TPU",
            advice="Create the model in 'with args.strategy.scope():'.",
        )


def check_workers(host: Host) -> None:
    """Refuse a model of Keras 3 under several workers: its ``fit`` fails with the batches that TensorFlow gives them.

    Raises:
        SettingError: It is one.
    """
    if host.package == "keras" and host.is_multi_worker:
        raise SettingError(
            "model",
            type(host.model).__name__,
            expected="a model of tf_keras, such as a TF model of transformers, with the workers of TF_CONFIG: Keras 3 "
            "does not train with them on TensorFlow",
            advice="Unset TF_CONFIG to train on one machine.",
        )


def check_train_dataset(train_dataset: Any) -> None:
    """Refuse a training without data.

    Raises:
        DataError: There is none.
    """
    if train_dataset is None:
        raise DataError("train_dataset=None: there is nothing to train on. Pass train_dataset to TFTrainer.")


def check_eval_dataset(args: TFTrainingArguments, eval_dataset: Any) -> None:
    """Refuse evaluations without data.

    Raises:
        SettingError: The arguments ask for evaluations, and there is no data for them.
    """
    if args.evaluates and eval_dataset is None:
        name, without = ("eval_on_start", False) if args.eval_strategy == "no" else ("eval_strategy", "no")
        raise SettingError(
            "eval_dataset",
            None,
            expected=f"a dataset, because {name}={getattr(args, name)!r}",
            advice=f"Pass eval_dataset, or set {name}={without!r}.",
        )


def check_same_keras(host: Host, name: str, module: str, value: Any) -> None:
    """Refuse what belongs to the other Keras, however deep in lists and dicts.

    Args:
        host: The model.
        name: What the value is called.
        module: Where Keras has such things.
        value: One of them, or a nest of them.
    """
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            check_same_keras(host, name, module, part)
        return
    packages = {base.__module__.partition(".")[0] for base in type(value).__mro__}
    if packages & {"keras", "tf_keras"} - {host.package}:
        raise SettingError(
            name,
            f"{type(value).__module__}.{type(value).__qualname__}",
            expected=f"one of {host.package}, which the model belongs to",
            advice=f"Import {host.package} and take it from {host.package}.{module}.",
        )
