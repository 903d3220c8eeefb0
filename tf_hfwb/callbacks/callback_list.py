"""``wandb_callbacks``: the callbacks that the environment asks for, for plain ``fit``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tf_hfwb.callbacks.callback_checks import check_callbacks, has
from tf_hfwb.callbacks.callback_order import in_order
from tf_hfwb.callbacks.metrics_logger import WandbMetricsLogger
from tf_hfwb.callbacks.model_checkpoint import WandbModelCheckpoint
from tf_hfwb.callbacks.weight_watch import WandbWatch
from tf_hfwb.errors import SettingError
from tf_hfwb.fit.keras_callback_states import KerasCallbackStates
from tf_hfwb.settings import LogModel, Settings, Watch

OUTPUT_DIR = "trainer_output"  # As transformers' TrainingArguments have it.
WATCH_FREQ = 100


def wandb_callbacks(
    output_dir: str | os.PathLike[str] | None = None,
    *,
    callbacks: Sequence[Any] = (),
    log_freq: Literal["epoch", "batch", "no"] | int = "epoch",
    save_freq: Literal["epoch"] | int = "epoch",
    monitor: str | None = None,
    mode: Literal["auto", "min", "max"] = "auto",
    save_total_limit: int | None = None,
    processing_class: Any = None,
    run_name: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> list[Any]:
    """The callbacks that the environment asks for, and yours, in an order that works.

    A :class:`~tf_hfwb.WandbMetricsLogger` always; a :class:`~tf_hfwb.WandbWatch` if ``WANDB_WATCH`` says so; a
    :class:`~tf_hfwb.WandbModelCheckpoint` if ``WANDB_LOG_MODEL`` or ``output_dir`` does. One that is among yours is not
    made again. Metrics are logged first, then come evaluations, then what looks at them, tables, stopping and saving,
    in whatever order you give them. With checkpoints, what Keras's own ``EarlyStopping`` and ``ReduceLROnPlateau`` have
    counted is part of them.

    Args:
        output_dir: Where checkpoints go. None: into ``trainer_output``, if ``WANDB_LOG_MODEL`` asks for them.
        callbacks: More callbacks, of this package or of Keras.
        log_freq: A row at each ``"epoch"``, each ``"batch"``, or every so many steps.
        save_freq: A checkpoint at each ``"epoch"``, or every so many steps.
        monitor: The metric that tells which checkpoint is best.
        mode: ``"min"``, ``"max"``, or ``"auto"``: as the compiled metric itself says, else by its name.
        save_total_limit: How many checkpoints to keep.
        processing_class: The tokenizer or processor, saved with the model.
        run_name: The run's name.
        config: Merged into the run's config.

    Returns:
        For ``model.fit(callbacks=...)``; each list for one model.

    Raises:
        SettingError: The environment or an argument does not parse, an argument is for a callback that is not made, or
            a callback is none, or there twice.

    Example:
        >>> [type(callback).__name__ for callback in wandb_callbacks(log_freq=100)]
        ['WandbMetricsLogger']
        >>> [type(callback).__name__ for callback in wandb_callbacks("out")]
        ['WandbMetricsLogger', 'KerasCallbackStates', 'WandbModelCheckpoint']

    Environment variables as in W&B's integration with transformers' ``Trainer``.
    """
    settings = Settings.resolve()
    chosen = check_callbacks(callbacks)
    wants_checkpoints = output_dir is not None or settings.log_model is not LogModel.FALSE
    of_logger = {"log_freq": (log_freq, "epoch"), "run_name": (run_name, None), "config": (config, None)}
    of_checkpoints: dict[str, tuple[Any, Any]] = {
        "save_freq": (save_freq, "epoch"),
        "monitor": (monitor, None),
        "mode": (mode, "auto"),
        "save_total_limit": (save_total_limit, None),
    }
    if has(chosen, WandbMetricsLogger):
        _refuse(of_logger, "your own WandbMetricsLogger says that", "Pass it to that one.")
    if has(chosen, WandbModelCheckpoint):
        of_checkpoints |= {"output_dir": (output_dir, None), "processing_class": (processing_class, None)}
        _refuse(of_checkpoints, "your own WandbModelCheckpoint says that", "Pass it to that one.")
    elif not wants_checkpoints:
        _refuse(of_checkpoints, "no checkpoints are made", "Pass output_dir, or set WANDB_LOG_MODEL.")
    if not has(chosen, WandbMetricsLogger):
        chosen.append(WandbMetricsLogger(log_freq, run_name=run_name, config=config))
    if settings.watch is not Watch.FALSE and not has(chosen, WandbWatch):
        chosen.append(WandbWatch(log_freq=WATCH_FREQ if isinstance(log_freq, str) else max(WATCH_FREQ, log_freq)))
    if wants_checkpoints and not has(chosen, WandbModelCheckpoint):
        chosen.append(
            WandbModelCheckpoint(
                OUTPUT_DIR if output_dir is None else output_dir,
                save_freq=save_freq,
                monitor=monitor,
                mode=mode,
                save_total_limit=save_total_limit,
                processing_class=processing_class,
            )
        )
    if has(chosen, WandbModelCheckpoint):
        chosen.append(KerasCallbackStates(chosen))
    return in_order(chosen)


def _refuse(given: Mapping[str, tuple[Any, Any]], reason: str, advice: str) -> None:
    """Arguments, each with its default, that would be ignored."""
    for name, (value, default) in given.items():
        if value is not default and value != default:
            raise SettingError(name, value, expected=f"{default!r}, because {reason}", advice=advice)
