"""``WandbMetricsLogger``: the metrics of a fit or an evaluation in a W&B run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from tf_hfwb.callbacks.row_logger import RowLogger
from tf_hfwb.keras_compat import Logs
from tf_hfwb.resume.checkpoint_participants import CHECKPOINTS
from tf_hfwb.settings import LogModel, Settings

_logger = logging.getLogger("tf_hfwb")


class WandbMetricsLogger(RowLogger):
    """Log the metrics of ``fit`` and ``evaluate`` to Weights & Biases, for tf_keras and Keras 3 models.

    The run is opened at the first event, not here; a run that you opened with ``wandb.init`` is used. Every row carries
    ``train/global_step``, the number of optimizer updates since the very first start, which is the x-axis of every
    metric. ``train/loss`` is the mean over the steps since the row before, as the PyTorch ``Trainer`` logs it, not
    Keras's running mean of the epoch; other training metrics are Keras's own. What callbacks add to the logs of an
    epoch, as Keras's and transformers' ``KerasMetricCallback`` do, is an evaluation metric, wherever they stand in the
    list: ``logs["val_f1"]`` and ``logs["f1"]`` are ``eval/f1``.

    Steps that log nothing are not synchronised, and a row costs the training thread a few microseconds: a worker
    thread reads the numbers and sends them. Beside this logger do not pass ``step=`` to a ``wandb.log`` of your own:
    W&B drops what lies behind its own counter. Log ``{"train/global_step": n, ...}``, or no step at all.

    Args:
        log_freq: ``"epoch"`` for a row at each epoch's end; ``"batch"`` for a row at every step; a number n for a row
            at every multiple of n steps, and one at the last step; ``"no"`` for evaluations and the summary only.
            Under ``steps_per_execution=k`` a row falls on the first boundary at or after the multiple and carries the
            true step.
        initial_global_step: The global step at which training starts, when the optimizer's counter does not know it.
        log_first_step: Also a row at the very first step.
        project: The run's project; else ``WANDB_PROJECT``, else ``huggingface``.
        run_name: The run's name; else ``WANDB_NAME``, else W&B finds one.
        config: Merged into the run's config, on top of the model's own.
        group: The run's group; ``WANDB_RUN_GROUP`` wins.
        run_id: The run to open or to continue, whichever the checkpoint names; ``WANDB_RUN_ID`` wins.

    Raises:
        SettingError: ``log_freq`` is neither of the words nor a positive number, or the environment does not parse.

    Example:
        >>> import keras, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
        >>> y = (x[:, 0] > 0).astype("int64")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        >>> logger = WandbMetricsLogger(log_freq=2, run_name="first")
        >>> history = model.fit(x, y, batch_size=8, verbose=0, callbacks=[logger])
        >>> logger.tracker.identity["name"]
        'first'

    Arguments follow ``wandb.integration.keras.WandbMetricsLogger``; names and meaning of the metrics follow the
    ``Trainer`` of transformers.
    """

    def __init__(
        self,
        log_freq: Literal["epoch", "batch", "no"] | int = "epoch",
        initial_global_step: int = 0,
        *,
        log_first_step: bool = False,
        project: str | None = None,
        run_name: str | None = None,
        config: Mapping[str, Any] | None = None,
        group: str | None = None,
        run_id: str | None = None,
    ) -> None:
        settings = Settings.resolve(project=project, group=group, run_id=run_id)
        super().__init__(
            log_freq,
            initial_global_step,
            log_first_step=log_first_step,
            run_name=run_name,
            config=config,
            settings=settings,
        )
        self._log_model = settings.log_model
        self._has_warned_of_models = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start counting the epoch's batches."""
        super().on_epoch_begin(epoch, logs)
        if self._training:
            self._warn_that_no_model_is_logged()  # By now all callbacks have begun.

    def _warn_that_no_model_is_logged(self) -> None:
        wanted = self._log_model
        if wanted is LogModel.FALSE or CHECKPOINTS in self._session.participants or self._has_warned_of_models:
            return
        self._has_warned_of_models = True
        _logger.warning(
            "WANDB_LOG_MODEL=%r asks for the model, but no callback of this fit logs it. Expected a "
            "WandbModelCheckpoint among the callbacks. Add one, or pass callbacks=wandb_callbacks(...), which does; "
            "unset WANDB_LOG_MODEL if the model is not to be logged.",
            wanted.value,
        )
