"""Which way a metric is better: the one answer for stopping, for the best checkpoint and for the best values."""

from __future__ import annotations

from collections.abc import Mapping

from tf_hfwb.fit.metric_names import row_name
from tf_hfwb.keras_compat import Host
from tf_hfwb.step_policies import higher_is_better


def is_higher_better(metric: str, host: Host, stated: Mapping[str, bool]) -> bool:
    """Whether more of a metric is better: as stated, else as the compiled metric says, else by its name.

    Args:
        metric: Its name in the logs or in a row.
        host: The model. Keras makes compiled metrics with the first batch; until then only names tell.
        stated: What callbacks were told by ``mode="min"`` or ``"max"``, by the row's names.
    """
    row = row_name(metric)
    if row in stated:
        return stated[row]
    name = row.partition("/")[2]
    known = None if name == "loss" else host.higher_is_better(name)
    return higher_is_better(name) if known is None else known
