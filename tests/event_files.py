"""What TensorBoard itself reads in a directory of event files."""

from __future__ import annotations

import os


def accumulated(directory):
    """As programs read it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    everything = {"scalars": 0, "tensors": 0, "images": 0, "histograms": 0, "compressedHistograms": 0}
    return EventAccumulator(os.fspath(directory), size_guidance=everything).Reload()


def served(directory):
    """As the server reads it."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    return EventAccumulator(os.fspath(directory), size_guidance={"tensors": 0}).Reload()


def scalars(directory) -> dict[str, list[tuple[int, float]]]:
    """Of each name the steps and the numbers, which are the same in both."""
    events = accumulated(directory)
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert str(found) == str({tag: [(s, float(v)) for s, v in tensors(directory, "scalars")[tag]] for tag in found})
    return found


def texts(directory) -> dict[str, list[tuple[int, str]]]:
    found = tensors(directory, "text")
    return {tag: [(step, text.reshape(-1)[0].decode()) for step, text in values] for tag, values in found.items()}


def tensors(directory, plugin: str) -> dict[str, list]:
    """Of each name of a plugin the steps and the arrays: ``"scalars"``, ``"histograms"``, ``"images"``, ``"text"``."""
    from tensorboard.util.tensor_util import make_ndarray

    events = served(directory)
    return {
        tag: [(event.step, make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
        if events.SummaryMetadata(tag).plugin_data.plugin_name == plugin
    }


def hyperparameters(directory) -> dict[str, object]:
    from tensorboard.plugins.hparams import metadata

    content = served(directory).SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    values = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def end_status(directory) -> str:
    """How the training has ended, as the HParams page shows it."""
    from tensorboard.plugins.hparams import api_pb2, metadata

    content = served(directory).SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    return api_pb2.Status.Name(metadata.parse_session_end_info_plugin_data(content).status)
