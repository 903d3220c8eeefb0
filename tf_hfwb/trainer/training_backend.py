"""Settings of the backend with which a model is trained: devices, XLA, and checks of all numbers."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import Host, host_of
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments


def check_backend(host: Host, args: TFTrainingArguments) -> None:
    """Refuse settings that the model's backend does not have, or takes at its start only.

    Raises:
        SettingError: There is one.
    """
    host.check_settings(use_cpu=args.use_cpu, tf32=args.tf32, xla=args.xla)


def compile_with_xla(host: Host, args: TFTrainingArguments) -> None:
    """Let XLA compile the train step, if ``xla`` is set.

    Raises:
        SettingError: The model or the installation has no XLA.
    """
    if not args.xla:
        return
    host.model.jit_compile = True
    if not host.model.jit_compile:
        raise SettingError(
            "xla", True, expected=f"False with {type(host.model).__name__}, which XLA cannot compile here"
        )


def checks_of_numbers(model: Any, args: TFTrainingArguments) -> AbstractContextManager[None]:
    """Stop at the first operation that gives a NaN, if ``debug`` says so.

    The error is the backend's: ``tf.errors.InvalidArgumentError`` on TensorFlow, also for infinities, which says which
    line made the operation; ``FloatingPointError`` on JAX; ``RuntimeError`` on PyTorch, for a NaN in a gradient.
    """
    return host_of(model).checks_of_numbers() if args.debug else contextlib.nullcontext()
