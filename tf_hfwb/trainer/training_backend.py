"""Settings of TensorFlow and JAX with which a model is trained: devices, XLA, and checks of all numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import Host, host_of
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments


def check_backend(host: Host, args: TFTrainingArguments) -> None:
    """Refuse settings that are TensorFlow's, for a model on JAX.

    Raises:
        SettingError: The model does not compute with TensorFlow.
    """
    if not _is_on_jax(host):
        return
    import jax

    if args.use_cpu and jax.default_backend() != "cpu":
        raise SettingError("use_cpu", True, expected="False on JAX", advice="Set JAX_PLATFORMS=cpu before the start.")
    if args.tf32 is not None:
        raise SettingError(
            "tf32", args.tf32, expected="None on JAX", advice="Set JAX_DEFAULT_MATMUL_PRECISION before the start."
        )


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


@contextlib.contextmanager
def checks_of_numbers(model: Any, args: TFTrainingArguments) -> Iterator[None]:
    """Stop at the first operation that gives a NaN or an infinity, if ``debug`` says so.

    Raises:
        tf.errors.InvalidArgumentError: There was one, on TensorFlow; the error says which, and the line that made it.
        FloatingPointError: There was a NaN, on JAX.
    """
    if not args.debug:
        yield
    elif _is_on_jax(host_of(model)):
        import jax

        with jax.debug_nans(True):
            yield
    else:
        import tensorflow as tf

        tf.debugging.enable_check_numerics()
        try:
            yield
        finally:
            tf.debugging.disable_check_numerics()
            model.train_function = model.test_function = model.predict_function = None  # They contain the checks.


def _is_on_jax(host: Host) -> bool:
    return host.package == "keras" and host.keras.backend.backend() == "jax"
