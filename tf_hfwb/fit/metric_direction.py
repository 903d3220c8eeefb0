"""Which way a metric is better: one answer for stopping, for the best checkpoint and for the best values."""

from __future__ import annotations

from tf_hfwb.fit.metric_names import possible_rows, row_name
from tf_hfwb.keras_compat import Host
from tf_hfwb.step_policies import higher_is_better


class MetricDirections:
    """The directions of the metrics of one model."""

    def __init__(self) -> None:
        self._stated: dict[str, bool] = {}

    def state(self, metric: str, mode: str) -> None:
        """A callback was told the direction of a metric.

        Args:
            metric: Its name in the logs.
            mode: ``"min"`` or ``"max"``; ``"auto"`` states nothing.
        """
        if mode != "auto":
            self._stated |= dict.fromkeys(possible_rows(metric), mode == "max")

    def is_higher_better(self, metric: str, host: Host) -> bool:
        """Whether more of a metric is better: as stated, else as the compiled metric says, else by its name.

        Args:
            metric: Its name in the logs or in a row.
            host: The model. Keras makes compiled metrics with the first batch; until then only names tell.
        """
        row = row_name(metric)
        if row in self._stated:
            return self._stated[row]
        name = row.partition("/")[2]
        known = None if name == "loss" else host.higher_is_better(name)
        return higher_is_better(name) if known is None else known
