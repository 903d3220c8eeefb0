"""The loopback server against the real client: what was sent is there once, whatever happened on the way."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import wandb
from helpers import nightly, python
from wandb_server import Collection, WandbServer

pytestmark = pytest.mark.core


def begin(**options):
    return wandb.init(project="trials", id="first", **options)


def artifact(name: str = "model", metadata: dict | None = None, **files: bytes) -> wandb.Artifact:
    made = wandb.Artifact(name, type="model", metadata=metadata)
    for path, content in files.items():
        with made.new_file(path, mode="wb") as file:
            file.write(content)
    return made


def log(run, *, aliases=(), **arguments) -> wandb.Artifact:
    return run.log_artifact(artifact(**arguments), aliases=list(aliases)).wait()


def aliases(collection: Collection) -> list[set[str]]:
    return [set(version.aliases) for version in collection.versions]


def losses(server: WandbServer) -> list[tuple[int, float]]:
    return [(row["_step"], row["loss"]) for row in server.runs["first"].history]


def asked(server: WandbServer, operation: str) -> list[int | None]:
    """The statuses of all requests of an operation."""
    return [request.status for request in server.requests if request.operation == operation]


def wait_for(condition, timeout_secs: float = 20) -> None:
    deadline = time.monotonic() + timeout_secs
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


# Runs


def test_a_run_arrives_with_all_it_said(server):
    run = begin(name="try one", config={"rate": 0.1, "model": {"layers": 2}}, tags=["a"], notes="n", group="g")
    run.log({"loss": 2.0, "train": {"accuracy": 0.5}})
    run.log({"loss": float("nan")})
    run.summary["best"] = 7
    Path("weights.txt").write_text("bytes")
    run.save("weights.txt")
    run.alert("title", "text")
    print("a word on the console")  # noqa: T201
    run.finish()

    arrived = server.runs["first"]
    assert (arrived.name, arrived.state, arrived.exit_code) == ("try one", "finished", 0)
    assert arrived.config == {"rate": 0.1, "model": {"layers": 2}}
    assert arrived.attributes["tags"] == ["a"]
    assert arrived.history[0]["train"] == {"accuracy": 0.5}
    assert math.isnan(arrived.history[1]["loss"])
    assert arrived.summary["best"] == 7
    assert arrived.files["weights.txt"] == b"bytes"
    assert arrived.alerts[0]["title"] == "title"
    assert any("a word on the console" in line for line in arrived.console)


@pytest.mark.parametrize(("exit_code", "preempting", "state"), [(3, False, "failed"), (1, True, "preempted")])
def test_a_run_that_ends_badly_says_so(server, exit_code, preempting, state):
    run = begin()
    if preempting:
        run.mark_preempting()
    run.finish(exit_code)
    assert (server.runs["first"].exit_code, server.runs["first"].state) == (exit_code, state)


def test_a_resumed_run_continues(server):
    run = begin(config={"a": 1})
    for loss in (3, 2):
        run.log({"loss": loss})
    run.log({"loss": 1}, step=9)
    run.finish()
    run = begin(resume="must", config={"b": 2})
    assert run.resumed
    assert run.starting_step == 10
    assert run.summary["loss"] == 1
    run.log({"loss": 0})
    run.finish()
    assert losses(server) == [(0, 3), (1, 2), (9, 1), (10, 0)]
    assert server.runs["first"].config == {"a": 1, "b": 2}


def test_the_api_reads_a_run(server):
    run = begin(config={"rate": 0.1}, tags=["kept"])
    for step in range(5):
        run.log({"loss": step / 2})
    run.log({"other": 1})
    run.finish()

    api = wandb.Api()
    assert api.viewer.username == api.default_entity == "tester"
    read = api.run("trials/first")
    assert (read.config, read.summary["other"], read.state) == ({"rate": 0.1}, 1, "finished")
    assert [row["loss"] for row in read.history(pandas=False)[:5]] == [0, 0.5, 1, 1.5, 2]
    assert [row["loss"] for row in read.history(keys=["loss"], pandas=False)] == [0, 0.5, 1, 1.5, 2]
    assert [row["_step"] for row in read.scan_history(page_size=2)] == [0, 1, 2, 3, 4, 5]
    assert [row["loss"] for row in read.scan_history(keys=["loss"])] == [0, 0.5, 1, 1.5, 2]
    file = read.file("wandb-summary.json")
    assert json.loads(Path(file.download().name).read_text())["other"] == 1
    assert {"config.yaml", "wandb-summary.json"} <= {found.name for found in read.files()}
    found = [{"config.rate": 0.1}, {"$and": [{"tags": "kept"}, {"state": {"$ne": "running"}}]}, {"tags": "no"}]
    assert [len(api.runs("trials", filters=filters)) for filters in found] == [1, 1, 0]


def test_the_api_changes_a_run(server):
    run = begin()
    run.log({"loss": 1})
    run.finish()
    read = wandb.Api().run("trials/first")
    read.config["added"] = 5
    read.name = "renamed"
    read.update()
    read.summary["loss"] = 0.5
    read.summary.update()
    arrived = server.runs["first"]
    assert (arrived.name, arrived.config, arrived.summary["loss"]) == ("renamed", {"added": 5}, 0.5)
    read.wait_until_finished()
    assert read.update_state("pending")
    assert arrived.state == "pending"
    read.delete()
    assert not server.runs


@pytest.mark.nightly  # The client looks every 15 seconds.
def test_a_running_run_can_be_stopped(server):
    stopped = python("-c", STOPPABLE, check=False)
    assert stopped.returncode == -signal.SIGINT
    assert server.runs["stoppable"].state == "failed"


STOPPABLE = """
import time, wandb
run = wandb.init(project="trials", id="stoppable")
wandb.Api().run("trials/stoppable").stop()
time.sleep(60)
"""


# Artifacts


def test_an_artifact_goes_up_and_comes_down(server):
    content = os.urandom(100_000)
    run = begin()
    logged = log(run, metadata={"step": 7}, aliases=["best"], weights=content, empty=b"")
    assert logged.version == "v0"
    run.finish()

    [version] = server.collection("model").versions
    assert version.files == {"weights": content, "empty": b""}
    assert (version.state, version.metadata, set(version.aliases)) == ("COMMITTED", {"step": 7}, {"best", "latest"})
    assert version.digest == logged.digest

    read = wandb.Api().artifact("trials/model:best", type="model")
    assert (read.version, read.metadata, read.size) == ("v0", {"step": 7}, 100_000)
    directory = Path(read.download(root="down"))
    assert (directory / "weights").read_bytes() == content
    assert read.verify(root="down") is None
    assert read.logged_by().id == "first"
    assert [found.name for found in wandb.Api().run("trials/first").logged_artifacts()] == ["model:v0"]


def test_bytes_that_are_there_are_not_sent_again(server):
    same, run = os.urandom(50_000), begin()
    log(run, weights=same, state=b"1")
    server.reset_counts()
    second = log(run, weights=same, state=b"22")
    assert server.uploaded_bytes == 2
    assert server.collection("model").versions[1].files == {"weights": same, "state": b"22"}
    assert log(run, weights=same, state=b"22").version == second.version
    log(run, name="other", weights=same)
    assert server.uploaded_bytes == 2
    assert len(server.collection("model").versions) == 2


def test_aliases_move(server):
    run = begin()
    for number in range(3):
        log(run, aliases=["best"] if number < 2 else [], weights=bytes([number]))
    collection = server.collection("model")
    assert aliases(collection) == [set(), {"best"}, {"latest"}]
    first = wandb.Api().artifact("trials/model:v0")
    first.aliases.append("best")
    first.metadata["score"] = 1
    first.save()
    assert aliases(collection) == [{"best"}, set(), {"latest"}]
    assert collection.find("best").metadata == {"score": 1}
    first.aliases.remove("best")
    first.save()
    assert aliases(collection) == [set(), set(), {"latest"}]


def test_versions_are_listed_and_deleted(server):
    shared, run = os.urandom(1000), begin()
    for number in range(3):
        log(run, shared=shared, own=bytes([number]))
    api = wandb.Api()
    assert [found.name for found in api.artifacts("model", "trials/model")] == ["model:v2", "model:v1", "model:v0"]
    assert [found.name for found in api.artifact_types("trials")] == ["model"]
    [collection] = api.artifact_type("model", "trials").collections()
    assert (collection.name, collection.aliases) == ("model", ["latest"])
    assert {file.name: file.size for file in api.artifact("trials/model:v0").files()} == {"shared": 1000, "own": 1}
    assert api.artifact_exists("trials/model:v1")
    assert api.artifact_collection_exists("trials/model", "model")

    with pytest.raises(wandb.errors.CommError, match="latest"):
        api.artifact("trials/model:v2").delete()
    api.artifact("trials/model:v0").delete()
    api.artifact("trials/model:v2").delete(delete_aliases=True)

    collection = server.collection("model")
    assert [version.deleted for version in collection.versions] == [True, False, True]
    assert aliases(collection) == [set(), {"latest"}, set()]
    assert not api.artifact_exists("trials/model:v0")
    assert set(server.store.blobs.values()) == {shared, b"\1"}
    assert log(run, shared=shared, own=b"new").version == "v3"
    api.artifact_collection("model", "trials/model").delete()
    assert not list(server.store.collections())


def test_lineage(server):
    run = begin()
    log(run, weights=b"1")
    run.finish()
    run = wandb.init(project="trials", id="second")
    run.use_artifact("model:latest").download("used")
    run.finish()
    read = wandb.Api().artifact("trials/model:v0")
    assert [user.id for user in read.used_by()] == ["second"]
    assert [found.name for found in wandb.Api().run("trials/second").used_artifacts()] == ["model:v0"]


def test_links(server):
    run = begin()
    log(run, name="other", weights=b"0").link("wandb-registry-model/zoo")
    source = log(run, weights=b"1")
    run.link_artifact(source, "wandb-registry-model/zoo", aliases=["production"])
    source.link("trials/chosen", aliases=["good"])
    run.finish()

    zoo, chosen = server.collection("zoo"), server.collection("chosen")
    assert aliases(zoo) == [set(), {"latest", "production"}]
    assert aliases(chosen) == [{"latest", "good"}]
    assert set(server.collection("model").versions[0].links) == {zoo.versions[1], chosen.versions[0]}

    api = wandb.Api()
    linked = api.artifact("wandb-registry-model/zoo:production")
    assert (linked.version, linked.source_name, linked.is_link) == ("v1", "model:v0", True)
    assert Path(linked.download(root="down"), "weights").read_bytes() == b"1"
    assert {found.name for found in api.artifact("trials/model:v0").linked_artifacts} == {"zoo:v1", "chosen:v0"}
    assert [found.name for found in api.registries()] == ["model"]
    assert [found.name for found in api.registries().collections()] == ["zoo"]
    assert {found.name for found in api.registries().versions()} == {"zoo:v0", "zoo:v1"}
    assert api.registry("model").allow_all_artifact_types
    linked.aliases.append("checked")
    linked.save()
    assert "checked" in zoo.versions[1].aliases
    api.artifact("trials/chosen:v0").unlink()
    assert chosen.versions[0].deleted
    api.artifact_collection("model", "trials/chosen").delete()
    assert server.collection("model").versions[0].state == "COMMITTED"


def test_a_version_that_is_linked_is_deleted_with_its_links(server):
    source = log(begin(), weights=b"1")
    source.link("trials/chosen", aliases=["good"])
    source.aliases.clear()
    source.save()
    with pytest.raises(wandb.errors.CommError, match="good"):
        source.delete()
    source.delete(delete_aliases=True)
    assert server.collection("chosen").versions[0].deleted
    assert not server.store.blobs


def test_a_link_follows_its_artifact(server):
    """Asked for while the artifact is still on its way."""
    run = begin()
    made = run.log_artifact(artifact(weights=b"1"))
    run.link_artifact(made, "wandb-registry-model/zoo")
    run.finish()
    assert server.collection("zoo").versions[0].files == {"weights": b"1"}


def test_a_table_is_a_file_and_an_artifact(server):
    run = begin()
    run.log({"samples": wandb.Table(columns=["text", "score"], data=[["a", 1], ["b", 2]])})
    run.finish()
    value = server.runs["first"].history[0]["samples"]
    assert json.loads(server.runs["first"].files[value["path"]])["data"] == [["a", 1], ["b", 2]]
    [version] = server.collection("run-first-samples").versions
    assert json.loads(version.files["samples.table.json"])["columns"] == ["text", "score"]
    table = wandb.Api().artifact("trials/run-first-samples:latest").get("samples")
    assert table.data == [["a", 1], ["b", 2]]


def test_an_artifact_that_refers_to_another(server):
    """To one that is there, and to one that is still on its way."""
    run = begin()
    first = log(run, weights=b"1")
    collected = wandb.Artifact("collected", type="model")
    collected.add_reference(first.get_entry("weights"), "inner")
    table = wandb.Table(columns=["text"], data=[["a"]])
    run.log({"samples": table})
    collected.add(table, "again")
    run.log_artifact(collected).wait()
    run.finish()
    assert server.collection("collected").versions[0].files == {}
    read = wandb.Api().artifact("trials/collected:latest")
    directory = Path(read.download(root="down"))
    assert (directory / "inner").read_bytes() == b"1"
    assert json.loads((directory / "again.table.json").read_text())["data"] == [["a"]]


# Offline runs


OFFLINE = """
import wandb
run = wandb.init(project="trials", id="first", mode="offline")
for step in range(3):
    run.log({"loss": 3 - step})
made = wandb.Artifact("model", type="model", metadata={"step": 3})
with made.new_file("weights") as file:
    file.write("bytes")
run.log_artifact(made, aliases=["best"])
run.finish()
"""


def sync() -> None:
    [directory] = Path("wandb").glob("offline-run-*")
    python("-m", "wandb", "sync", str(directory))


def test_an_offline_run_is_synced(server):
    python("-c", OFFLINE)
    assert not server.runs
    sync()
    assert losses(server) == [(0, 3), (1, 2), (2, 1)]
    assert server.runs["first"].state == "finished"
    [version] = server.collection("model").versions
    assert (version.files, version.metadata) == ({"weights": b"bytes"}, {"step": 3})
    assert set(version.aliases) == {"best", "latest"}


def test_an_offline_run_is_synced_onto_one_that_is_there(server):
    run = begin()
    run.log({"loss": 9})
    run.finish()
    python("-c", OFFLINE)
    sync()
    assert losses(server) == [(0, 9), (0, 3), (1, 2), (2, 1)]


# Faults


def test_errors_for_a_while(server):
    run = begin()
    log(run, name="before", weights=b"0")
    operations = ["CreateArtifact", "CommitArtifact", "upload_artifact_file", "upload_manifest", "file_stream"]
    for operation in operations:
        server.fail(500, [operation], times=1)
    run.log({"loss": 1})
    log(run, weights=b"1")
    run.finish()
    assert [asked(server, name).count(500) for name in operations] == [1] * len(operations)
    assert losses(server) == [(0, 1)]
    assert [version.files for version in server.collection("model").versions] == [{"weights": b"1"}]


def test_down_in_the_middle(server):
    run = begin()
    server.on("CommitArtifact", lambda _: server.go_down())
    run.log({"loss": 2})
    pending = run.log_artifact(artifact(weights=b"1"))
    wait_for(lambda: "CommitArtifact" in {request.operation for request in server.requests})
    run.log({"loss": 1})
    assert server.collection("model").pending
    server.come_up()
    assert pending.wait().version == "v0"
    run.finish()
    assert losses(server) == [(0, 2), (1, 1)]
    assert len(server.collection("model").versions) == 1


def drop_answers(server: WandbServer) -> None:
    server.go_down()
    threading.Timer(0.2, server.come_up).start()


@pytest.mark.parametrize("operation", ["CreateArtifact", nightly("CommitArtifact"), nightly("UpsertBucket")])
def test_an_answer_is_lost(server, operation):
    """The request took effect and the client does not know: it asks again, and nothing happens twice."""
    server.on(operation, lambda _: drop_answers(server), after=True)
    run = begin()
    run.log({"loss": 1})
    log(run, weights=b"1")
    run.finish()
    assert len(asked(server, operation)) >= 2
    assert losses(server) == [(0, 1)]
    collection = server.collection("model")
    assert (len(collection.versions), collection.pending) == (1, [])


@pytest.mark.nightly
def test_an_answer_to_history_is_lost(server):
    dropped = []

    def drop_once(request):
        if server.runs["first"].history and not dropped:
            dropped.append(request)
            drop_answers(server)

    server.on("file_stream", drop_once, after=True, times=math.inf)
    run = begin()
    run.log({"loss": 1})
    run.finish()
    assert dropped
    assert losses(server) == [(0, 1)]


def test_an_upload_is_cut(server):
    content, run = os.urandom(3_000_000), begin()
    server.cut_upload(after=1_000_000)
    log(run, weights=content)
    uploads = [request for request in server.requests if request.operation == "upload_artifact_file"]
    assert [(upload.received, upload.status) for upload in uploads] == [(1_000_000, None), (3_000_000, 200)]
    assert server.uploaded_bytes == len(content)
    assert server.collection("model").versions[0].files == {"weights": content}


def test_a_download_fails_for_a_while(server):
    log(begin(), weights=b"1")
    server.fail(503, ["download"], times=1)
    assert Path(wandb.Api().artifact("trials/model:v0").download(root="down"), "weights").read_bytes() == b"1"
    assert 503 in asked(server, "download_artifact_file") + asked(server, "download_manifest")


def test_silence(server):
    run = begin()
    server.stall(["CommitArtifact"])
    pending = run.log_artifact(artifact(weights=b"1"))
    wait_for(lambda: asked(server, "CommitArtifact"))
    time.sleep(0.2)
    assert asked(server, "CommitArtifact") == [None]
    assert not server.collection("model").versions
    server.recover()
    assert pending.wait().version == "v0"


@pytest.mark.nightly
def test_slowness(server):
    run = begin()
    server.delay = 0.1
    before = time.monotonic()
    log(run, weights=b"1")
    assert time.monotonic() - before > 0.5
    assert server.requests[-1].sent > 0


# The server's own manners


def test_what_it_does_not_know_it_refuses(monkeypatch):
    with WandbServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        with pytest.raises(Exception, match="Surprise"):
            wandb.Api()._service_api.execute_graphql("query Surprise { surprise }", {})
        wandb.teardown()
    assert server.unknown == ["Surprise"]
