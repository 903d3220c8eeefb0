"""``TensorBoardLogger``: the metrics of a fit or an evaluation as TensorBoard's events."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from tf_hfwb.callbacks.row_logger import RowLogger
from tf_hfwb.dashboards.installed_dashboards import check_installed
from tf_hfwb.dashboards.tensorboard_writer import TensorBoardWriter, default_directory
from tf_hfwb.tracking.dashboard_tracker import Dashboards


class TensorBoardLogger(RowLogger):
    """Log what :class:`~tf_hfwb.WandbMetricsLogger` logs to TensorBoard, with its names and steps, without W&B.

    For tf_keras and Keras 3 models, with TensorFlow or without it. Beside a ``WandbMetricsLogger`` the rows are made
    once, and both get them. So do the histograms of :class:`~tf_hfwb.WandbWatch` and the tables of
    :class:`~tf_hfwb.WandbEvalTable`, as text. The configuration is on the HParams page.

    A training from step 0 in a directory with events gets one of its own, ``run-2`` (and so on) below it. One that is
    resumed from a checkpoint of :class:`~tf_hfwb.WandbModelCheckpoint` repeats no step.

    Args:
        log_dir: Where the events go; ``runs/DATE_HOST`` when None.
        log_freq: ``"epoch"``, ``"batch"``, ``"no"`` or a number of steps, as of ``WandbMetricsLogger``.
        initial_global_step: The global step at which training starts, when the optimizer's counter does not know it.
        log_first_step: Also a row at the very first step.
        config: Shown as hyperparameters, on top of the model's own.

    Raises:
        SettingError: TensorBoard is not installed, or an argument cannot be used.

    Example:
        >>> import keras, numpy as np, os, tempfile
        >>> x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> logs = os.path.join(tempfile.mkdtemp(), "logs")
        >>> history = model.fit(x, x[:, :1], verbose=0, callbacks=[TensorBoardLogger(logs, log_freq=1)])
        >>> len(os.listdir(logs))  # tensorboard --logdir logs
        1

    Names and arguments follow ``keras.callbacks.TensorBoard`` and the ``TensorBoardCallback`` of transformers.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        log_freq: Literal["epoch", "batch", "no"] | int = "epoch",
        initial_global_step: int = 0,
        *,
        log_first_step: bool = False,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        check_installed("tensorboard")
        writer = TensorBoardWriter(default_directory() if log_dir is None else log_dir, is_given=log_dir is not None)
        super().__init__(
            log_freq,
            initial_global_step,
            log_first_step=log_first_step,
            config=config,
            dashboards=Dashboards([writer]),
        )
