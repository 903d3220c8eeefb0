"""Artifacts there and back: the real client and a server on the loopback interface."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
import wandb
from helpers import classifier, samples

from tf_hfwb import (
    TFTrainer,
    TFTrainingArguments,
    WandbEvalTable,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    export_for_serving,
    link_to_registry,
    load_model,
    restore,
)
from tf_hfwb.cli import main
from tf_hfwb.errors import ArtifactNotFoundError, ServerError, SettingError
from tf_hfwb.tracking import current_tracker
from tf_hfwb.tracking.wandb_server import cache_folder


def train(output_dir="out", epochs=2, run_name="first", **options):
    model = classifier("tf_keras", learning_rate=0.1)
    x, y = samples(64)
    position = restore(model, options.pop("source"), output_dir=output_dir) if "source" in options else None
    checkpoints = WandbModelCheckpoint(output_dir, log_model="checkpoint", artifact_name=run_name, **options)
    logger = WandbMetricsLogger(2, run_name=run_name)
    model.fit(x, y, batch_size=16, epochs=epochs, callbacks=[logger, checkpoints], shuffle=False, verbose=0)
    current_tracker().finish()
    return model, position


def downloads(server) -> int:
    return [request.operation for request in server.requests].count("download_artifact_file")


def the_run(server):
    (run,) = server.runs.values()
    return run


def test_checkpoints_and_the_final_model_are_uploaded(server):
    train()
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
    (linked,) = server.collection("wandb-registry-model/sentiment").versions
    assert linked.aliases == ["latest"]
    path = link_to_registry("checkpoint-first:step-4", "wandb-registry-model/sentiment", ["production"])
    assert path.endswith("wandb-registry-model/sentiment:v1")
    assert server.collection("wandb-registry-model/sentiment").versions[1].aliases == ["production", "latest"]


def test_superseded_versions_are_deleted_and_no_others(server):
    train(epochs=2, save_freq=1, monitor="loss", mode="max", save_total_limit=2, delete_superseded=True)
    versions = server.collection("checkpoint-first").versions
    there = [version.metadata["global_step"] for version in versions if not version.deleted]
    best = [version.metadata["global_step"] for version in versions if "best" in version.aliases]
    assert there == sorted({7, 8, *best})
    assert len(versions) == 8


def test_what_somebody_marked_is_never_deleted(server):
    train(epochs=1, save_freq=1)
    marked = wandb.Api().artifact("tester/huggingface/checkpoint-first:step-1")
    marked.aliases.append("mine")
    marked.save()
    link_to_registry("checkpoint-first:step-2", "sentiment")
    train(source=True, epochs=2, save_freq=1, save_total_limit=2, delete_superseded=True)
    versions = server.collection("checkpoint-first").versions
    assert [version.metadata["global_step"] for version in versions if not version.deleted] == [1, 2, 7, 8]


def test_the_trainer_uploads_links_deletes_and_goes_on_elsewhere(server, monkeypatch):
    def trainer(output_dir, steps):
        arguments = TFTrainingArguments(
            output_dir,
            run_name="first",
            max_steps=steps,
            per_device_train_batch_size=4,
            eval_strategy="steps",
            eval_steps=2,
            save_steps=2,
            save_total_limit=1,
            metric_for_best_model="loss",
            load_best_model_at_end=True,
            link_to_registry="sentiment",
            delete_superseded=True,
            report_to="wandb",
            learning_rate=1e-2,
            disable_tqdm=True,
        )
        data = tiny.classified()
        return TFTrainer(
            tiny.bert(), arguments, train_dataset=data, eval_dataset=data, processing_class=tiny.tokenizer()
        )

    monkeypatch.setenv("WANDB_LOG_MODEL", "checkpoint")
    trainer("out", 6).train()
    current_tracker().finish()
    versions = server.collection("checkpoint-first").versions
    best = [version for version in versions if "best" in version.aliases]
    there = [version for version in versions if not version.deleted]
    assert [version.metadata["global_step"] for version in versions] == [2, 4, 6]
    assert there == [version for version in versions if version in best or version is versions[-1]]
    assert "tokenizer.json" in versions[-1].files
    (final,) = server.collection("model-first").versions
    assert sorted(final.aliases) == ["best", "final", "latest"]
    assert len(server.collection("wandb-registry-model/sentiment").versions) == 1

    shutil.rmtree("out")
    ended = trainer("elsewhere", 8).train(resume_from_checkpoint="huggingface/checkpoint-first:step-6")
    current_tracker().finish()
    assert ended.global_step == 8
    assert downloads(server)
    assert [version.metadata["global_step"] for version in server.collection("checkpoint-first").versions][3:] == [8]
    assert len(server.runs) == 1


def test_a_frozen_backbone_is_uploaded_once(server):
    x, y = np.random.default_rng(0).normal(size=(48, 400)).astype("float32"), np.zeros(48, "int64")
    frozen, trained = keras.layers.Dense(2000, trainable=False), keras.layers.Dense(50)
    model = keras.Sequential([keras.Input((400,)), frozen, trained])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    received = []
    server.on("CommitArtifact", lambda _: received.append(server.uploaded_bytes), times=9)
    checkpoints = WandbModelCheckpoint("out", save_freq=1, log_model="checkpoint", artifact_name="first")

    def wait(batch, logs=None):
        """Each step's save is on the server before the next one is taken: two at once would both bring what is new."""
        end = time.monotonic() + 60
        while len(received) < batch:
            assert time.monotonic() < end
            time.sleep(0.01)

    one_by_one = keras.callbacks.LambdaCallback(on_train_batch_end=wait)
    model.fit(x, y, batch_size=16, epochs=1, callbacks=[checkpoints, one_by_one], verbose=0)
    current_tracker().finish()
    changed = sum(variable.numpy().nbytes for variable in [*trained.variables, *model.optimizer.variables])
    assert received[0] > frozen.kernel.numpy().nbytes
    assert received[1] - received[0] <= 1.05 * changed


def test_what_a_killed_download_left_is_gone_on_with(server):
    train()
    os.rename("out", "gone")
    load_model("model-first:final")
    (cached,) = pathlib.Path(cache_folder()).glob("model-first-*[!k]")
    whole = {path.name: path.read_bytes() for path in cached.iterdir()}
    largest = max(whole, key=lambda name: len(whole[name]))
    partial = cached.with_name(f"{cached.name}.partial")
    cached.rename(partial)
    (partial / largest).rename(partial / f"{largest}.part")
    (partial / f"{largest}.part").write_bytes(whole[largest][:1000])
    server.reset_counts()
    load_model("model-first:final")
    (request,) = [request for request in server.requests if request.operation == "download_artifact_file"]
    assert request.sent == len(whole[largest]) - 1000
    assert {path.name: path.read_bytes() for path in cached.iterdir()} == whole


def test_a_damaged_file_in_the_cache_is_fetched_again(server, caplog):
    train()
    os.rename("out", "gone")
    load_model("model-first:final")
    (cached,) = pathlib.Path(cache_folder()).glob("model-first-*[!k]")
    archive = cached / "model.keras"
    good = archive.read_bytes()
    archive.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    load_model("model-first:final")
    assert archive.read_bytes() == good
    assert "is damaged" in caplog.text


@pytest.mark.nightly
def test_a_server_that_cannot_be_asked_leaves_what_is_here(server, monkeypatch, caplog):
    train()
    wandb.teardown()
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "1")
    server.go_down()
    load_model("model-first:final")
    assert "What was logged on this machine is used" in caplog.text
    with pytest.raises(ServerError, match=r"failed: .*Expected an answer of http://127.0.0.1"):
        load_model("nothing:final")
    server.come_up()


def test_the_runs_own_checkpoint_is_found_by_its_name(server, monkeypatch):
    _, position = train(source=True)
    assert not position
    os.rename("out", "gone")
    wandb.teardown()  # The client reads its variables once in a process.
    monkeypatch.setenv("WANDB_NAME", "first")
    _, position = train(source=True, epochs=3)
    assert position.step == 8
    assert len(server.runs) == 1
    assert [row["train/global_step"] for row in the_run(server).history] == [2, 4, 6, 8, 10, 12]
    assert [version.metadata["global_step"] for version in server.collection("checkpoint-first").versions] == [4, 8, 12]


def test_offline_a_registry_is_an_error_that_says_what_to_do():
    with pytest.raises(ServerError, match=r"offline.*tf-hfwb link model-x:final sentiment"):
        link_to_registry("model-x:final", "sentiment")
    for name in ("", "a/b/c/d", "a:b"):
        with pytest.raises(SettingError, match="collection"):
            link_to_registry("model-x:final", name)
    with pytest.raises(SettingError, match="save_total_limit"):
        WandbModelCheckpoint("out", delete_superseded=True)


def test_checkpoints_here_and_there_are_listed_side_by_side(server, capsys, monkeypatch):
    train(monitor="loss", mode="min")
    os.rename("out/checkpoint-4", "gone")
    for source in ("out", "checkpoint-first"):
        assert main(["checkpoints", "--json", source]) == 0
        first, second = json.loads(capsys.readouterr().out)
        assert (first["step"], first["path"], first["version"]) == (4, None, "tester/huggingface/checkpoint-first:v0")
        assert (second["step"], second["version"]) == (8, "tester/huggingface/checkpoint-first:v1")
        assert second["path"] == os.path.abspath("out/checkpoint-8")
        assert {"latest", "step-8", "epoch-2.00"} <= set(second["aliases"])
        assert second["metrics"]
        assert second["size"] == sum(
            path.stat().st_size for path in pathlib.Path("out/checkpoint-8").iterdir() if path.name != "manifest.json"
        )
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["checkpoints", "out"]) == 0
    printed = capsys.readouterr().out
    assert "out/checkpoint-8" in printed
    assert "on W&B: tester/huggingface/checkpoint-first" in printed
    assert printed.index("v0") < printed.index("v1")
    assert main(["checkpoints", "nowhere"]) == 1
    assert "no checkpoint in or under 'nowhere'" in capsys.readouterr().err


def test_the_command_links(server, capsys):
    train()
    assert main(["link", "model-first:final", "sentiment", "--alias", "production"]) == 0
    assert "wandb-registry-model/sentiment:v0" in capsys.readouterr().out
    assert server.collection("wandb-registry-model/sentiment").versions[0].aliases == ["production", "latest"]
    assert main(["link", "model-first:nothing", "sentiment"]) == 1
    assert "no artifact 'tester/huggingface/model-first:nothing'" in capsys.readouterr().err


def test_a_table_is_read_back_from_the_server(server):
    model, (x, y) = classifier("keras", learning_rate=0.1), samples(12)
    callbacks = [WandbMetricsLogger(), WandbEvalTable((x, y), num_samples=3)]
    model.fit(x, y, batch_size=4, epochs=2, callbacks=callbacks, verbose=0)
    current_tracker().finish()
    (run,) = server.runs.values()
    versions = server.collection(f"run-{run.id}-incr-sample_predictions").versions
    assert len(versions) == 2
    artifact = wandb.Api().artifact(f"tester/huggingface/run-{run.id}-incr-sample_predictions:latest")
    (entry,) = [name for name in versions[-1].files if name.startswith("1-")]
    rows = artifact.get(entry).data
    assert [(row[0], row[2]) for row in rows] == [(3, 0), (3, 1), (3, 2), (6, 0), (6, 1), (6, 2)]


def test_a_servable_is_an_artifact_made_from_the_model(server, capsys):
    model, _ = train()
    shutil.rmtree("out")  # So that it comes from the server.
    options = ["--artifact_name", "first", "--alias", "candidate", "--link_to_registry", "sentiment"]
    assert main(["export", "model-first:final", "served", *options]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == os.path.join("served", "1")
    (version,) = server.collection("servable-first").versions
    assert sorted(version.aliases) == ["candidate", "latest"]
    assert version.metadata == {"version": 1, "source": "model-first:final"}
    assert "saved_model.pb" in version.files
    (linked,) = server.collection("wandb-registry-model/sentiment").versions
    assert linked.files == version.files
    assert [request.operation for request in server.requests].count("UseArtifact") >= 1
    x = samples(4)[0]
    (answer,) = tf.saved_model.load("served/1").signatures["serving_default"](tf.constant(x)).values()
    np.testing.assert_allclose(answer, model(x), atol=1e-5)
    with pytest.raises(SettingError, match="letters, digits"):
        export_for_serving(model, "served", artifact_name="a/b")
    with pytest.raises(SettingError, match=r"link_to_registry='sentiment' .* artifact_name"):
        export_for_serving(model, "served", link_to_registry="sentiment")
