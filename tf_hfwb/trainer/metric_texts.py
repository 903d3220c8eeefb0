"""Metrics as a person reads them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any


def metric_texts(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics with times as h:mm:ss, memory in MB, operations in GF, and other floats with 4 decimals.

    Args:
        metrics: By their names.

    Example:
        >>> metric_texts({"eval_runtime": 1.239, "init_mem_cpu_alloc_delta": 3 << 20, "eval_loss": 0.5})
        {'eval_runtime': '0:00:01.23', 'init_mem_cpu_alloc_delta': '3MB', 'eval_loss': 0.5}

    The format is that of ``Trainer.metrics_format`` of transformers.
    """
    return {name: _text(name, value) for name, value in metrics.items()}


def _text(name: str, value: Any) -> Any:
    if "_mem_" in name:
        return f"{int(value) >> 20}MB"
    if "_runtime" in name:
        return _duration(float(value))
    if name == "total_flos":
        return f"{int(value) >> 30}GF"
    return round(value, 4) if isinstance(value, float) else value


def _duration(seconds: float) -> str:
    whole = int(seconds)
    return f"{datetime.timedelta(seconds=whole)}.{int(abs(seconds - whole) * 100):02d}"
