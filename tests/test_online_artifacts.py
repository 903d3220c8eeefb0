"""Artifacts there and back: the real client and a server on the loopback interface."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest
from helpers import classifier, samples
from wandb_server import WandbServer

from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint, link_to_registry, load_model, restore
from tf_hfwb.errors import ArtifactNotFoundError
from tf_hfwb.tracking import current_tracker


@pytest.fixture
def server(monkeypatch):
    with WandbServer() as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running
        current_tracker().finish()
        assert not running.unknown


def train(output_dir="out", epochs=2, run_name="first", **options):
    model = classifier("tf_keras", learning_rate=0.1)
    x, y = samples(64)
    position = restore(model, options.pop("source"), output_dir=output_dir) if "source" in options else None
    checkpoints = WandbModelCheckpoint(output_dir, log_model="checkpoint", artifact_name=run_name, **options)
    logger = WandbMetricsLogger(2, run_name=run_name)
    model.fit(x, y, batch_size=16, epochs=epochs, callbacks=[logger, checkpoints], shuffle=False, verbose=0)
    return model, position


def downloads(server) -> int:
    return [request.operation for request in server.requests].count("download_artifact_file")


def the_run(server):
    (run,) = server.runs.values()
    return run


def test_checkpoints_and_the_final_model_are_uploaded(server):
    train()
    current_tracker().finish()
    versions = server.collection("checkpoint-first").versions
    assert [sorted(version.aliases) for version in versions] == [
        ["epoch-1.00", "step-4"],
        ["epoch-2.00", "latest", "step-8"],
    ]
    assert [version.metadata["global_step"] for version in versions] == [4, 8]
    (final,) = server.collection("model-first").versions
    assert sorted(final.aliases) == ["final", "latest"]
    for version, directory in zip([*versions, final], ["checkpoint-4", "checkpoint-8", "model"], strict=True):
        files = {
            path.relative_to(f"out/{directory}").as_posix(): path.read_bytes()
            for path in pathlib.Path("out", directory).rglob("*")
            if path.is_file()
        }
        assert version.files == files
    assert the_run(server).state == "finished"


def test_a_model_comes_back_by_name(server):
    model, _ = train()
    current_tracker().finish()
    before = server.uploaded_bytes
    same_machine = load_model("model-first:final")
    assert not downloads(server)
    os.rename("out", "gone")
    loaded = load_model("model-first:final")
    for one in (same_machine, loaded):
        for mine, its in zip(model.get_weights(), one.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, its)
    number = downloads(server)
    assert number > 0
    load_model("huggingface/model-first:v0")
    assert downloads(server) == number
    assert server.uploaded_bytes == before
    with pytest.raises(
        ArtifactNotFoundError, match=r"no artifact 'tester/huggingface/model-first:beste'.*model-first:final"
    ):
        load_model("model-first:beste")


def test_the_final_model_goes_into_the_registry(server):
    train(link_to_registry="sentiment")
    current_tracker().finish()
    (linked,) = server.collection("wandb-registry-model/sentiment").versions
    assert linked.aliases == ["latest"]
    path = link_to_registry("checkpoint-first:step-4", "wandb-registry-model/sentiment", ["production"])
    assert path.endswith("wandb-registry-model/sentiment:v1")
    assert server.collection("wandb-registry-model/sentiment").versions[1].aliases == ["production", "latest"]


def test_superseded_versions_are_deleted_and_no_others(server):
    train(epochs=2, save_freq=1, monitor="loss", mode="max", save_total_limit=2, delete_superseded=True)
    current_tracker().finish()
    versions = server.collection("checkpoint-first").versions
    there = [version.metadata["global_step"] for version in versions if not version.deleted]
    best = [version.metadata["global_step"] for version in versions if "best" in version.aliases]
    assert there == sorted({7, 8, *best})
    assert len(versions) == 8
