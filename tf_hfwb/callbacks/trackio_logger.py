"""``TrackioLogger``: the metrics of a fit or an evaluation in trackio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tf_hfwb.callbacks.row_logger import RowLogger
from tf_hfwb.dashboards.installed_dashboards import check_installed
from tf_hfwb.dashboards.trackio_writer import TrackioWriter
from tf_hfwb.tracking.dashboard_tracker import Dashboards


class TrackioLogger(RowLogger):
    """Log what :class:`~tf_hfwb.WandbMetricsLogger` logs to trackio, with its names and steps, without W&B.

    For tf_keras and Keras 3 models. Beside a ``WandbMetricsLogger`` the rows are made once, and both get them; without
    a name of its own the run then has the name of W&B's. ``trackio show`` opens the dashboard.

    A training is a run of its own: a name that the project has already gets a number. One that is resumed from a
    checkpoint of :class:`~tf_hfwb.WandbModelCheckpoint` continues its run and repeats no step.

    Args:
        project: The project.
        run_name: The run's name; trackio finds one when None.
        log_freq: ``"epoch"``, ``"batch"``, ``"no"`` or a number of steps, as of ``WandbMetricsLogger``.
        initial_global_step: The global step at which training starts, when the optimizer's counter does not know it.
        log_first_step: Also a row at the very first step.
        config: The run's configuration, on top of the model's own.
        group: The run's group.
        space_id: The Space on the Hub that gets the run; None for the database on this machine.
        private: Whether a new Space is private.

    Raises:
        SettingError: trackio is not installed, or an argument cannot be used.

    Example:
        >>> logger = TrackioLogger("huggingface", "bert", log_freq=10)  # doctest: +SKIP
        >>> model.fit(x, y, callbacks=[logger])  # doctest: +SKIP

    Arguments follow ``trackio.init``.
    """

    def __init__(
        self,
        project: str = "huggingface",
        run_name: str | None = None,
        log_freq: Literal["epoch", "batch", "no"] | int = "epoch",
        initial_global_step: int = 0,
        *,
        log_first_step: bool = False,
        config: Mapping[str, Any] | None = None,
        group: str | None = None,
        space_id: str | None = None,
        private: bool | None = None,
    ) -> None:
        check_installed("trackio")
        writer = TrackioWriter(project, run_name, group=group, space_id=space_id, is_private=private)
        super().__init__(
            log_freq,
            initial_global_step,
            log_first_step=log_first_step,
            run_name=run_name,
            config=config,
            dashboards=Dashboards([writer]),
        )
