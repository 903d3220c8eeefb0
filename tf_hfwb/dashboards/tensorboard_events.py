"""Entries as TensorBoard's events, made without TensorFlow."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tf_hfwb import json_text
from tf_hfwb.dashboards.log_entries import Histogram, Picture, Row, TableRows
from tf_hfwb.dashboards.markdown_tables import markdown_table
from tf_hfwb.dashboards.plain_values import plain_value


def version_event(time: float) -> bytes:
    """What an event file begins with."""
    from tensorboard.compat.proto.event_pb2 import Event

    return _record(Event(wall_time=time, file_version="brain.Event:2"))


def purge_events(time: float, step: int) -> bytes:
    """Lets TensorBoard forget what files before this one have from a step on."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    start = _record(Event(wall_time=time, step=step, session_log=SessionLog(status=SessionLog.START)))
    return start * 2  # Of a directory the server takes the first for the begin, and only the second for a restart.


def row_event(row: Row) -> bytes:
    """The values of a row."""
    return _event(row.step, row.time, [_value(name, value) for name, value in row.values.items()])


def table_event(table: TableRows) -> bytes:
    """Rows of a table, as text."""
    return _event(table.step, table.time, [_text(table.key, markdown_table(table.columns, table.rows))])


def configuration_event(time: float, config: Mapping[str, Any]) -> bytes:
    """A configuration as text."""
    lines = json_text.dumps(dict(sorted(plain_value(config).items())), indent=2).splitlines()
    return _event(0, time, [_text("config", "\n".join(f"    {line}" for line in lines))])  # Indented: code in Markdown.


def hyperparameters_event(time: float, config: Mapping[str, Any], name: str) -> bytes:
    """A configuration for the HParams page, which knows numbers, truth values and texts.

    Args:
        time: Seconds since the epoch.
        config: The configuration.
        name: The directory: what tells it from others with the same hyperparameters.
    """
    from tensorboard.plugins.hparams import summary_v2

    summary = summary_v2.hparams_pb(dict(_flat(plain_value(config))), trial_id=name, start_time_secs=time)
    return _event(0, time, summary.value)


def end_event(time: float, *, has_failed: bool) -> bytes:
    """The end of a training, for the HParams page."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.STATUS_FAILURE if has_failed else api_pb2.STATUS_SUCCESS
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        tensor=metadata.NULL_TENSOR,
        metadata=metadata.create_summary_metadata(data),
    )
    return _event(0, time, [value])


def _event(step: int, time: float, values: Sequence[Any]) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return _record(Event(wall_time=time, step=step, summary=Summary(value=values)))


def _record(event: Any) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


def _value(name: str, value: Any) -> Any:
    # Numbers and histograms as PyTorch's writer has them: EventAccumulator forgets steps of a resumed training only so.
    from tensorboard.compat.proto.summary_pb2 import Summary

    if isinstance(value, Histogram):
        return Summary.Value(tag=name, histo=_histogram(value))
    if isinstance(value, Picture):
        return _picture(name, value)
    if isinstance(value, str):
        return _text(name, value)
    return Summary.Value(tag=name, simple_value=_single(value))


def _single(value: float) -> float:
    """A number that fits into 32 bits."""
    limit = float(np.finfo(np.float32).max)
    return value if abs(value) <= limit or not math.isfinite(value) else math.copysign(math.inf, value)


def _histogram(value: Histogram) -> Any:
    from tensorboard.compat.proto.summary_pb2 import HistogramProto

    edges, counts = np.asarray(value.edges, np.float64), np.asarray(value.counts, np.float64)
    middles = (edges[:-1] + edges[1:]) / 2
    return HistogramProto(
        min=edges[0],
        max=edges[-1],
        num=counts.sum(),
        sum=float(counts @ middles),
        sum_squares=float(counts @ middles**2),
        bucket_limit=edges[1:].tolist(),
        bucket=counts.tolist(),
    )


def _picture(name: str, value: Picture) -> Any:
    from tensorboard.plugins.image import metadata

    content = np.array([str(value.width).encode(), str(value.height).encode(), value.data], dtype=object)
    return _tensor(name, content, metadata.create_summary_metadata(display_name="", description=value.caption))


def _text(name: str, value: str) -> Any:
    from tensorboard.plugins.text import metadata

    content = np.array(value.encode(errors="replace"), dtype=object)
    return _tensor(name, content, metadata.create_summary_metadata(display_name="", description=""))


def _tensor(name: str, value: Any, metadata: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.util import tensor_util

    return Summary.Value(tag=name, tensor=tensor_util.make_tensor_proto(value), metadata=metadata)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, (bool, str)):
            yield f"{prefix}{name}", value
        elif isinstance(value, (int, float)):
            if math.isfinite(value):  # The page cannot be shown with one that is not.
                yield f"{prefix}{name}", float(value)
        elif value is not None:
            yield f"{prefix}{name}", str(value)
