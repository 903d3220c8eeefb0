"""Artifacts: their names, their record in the client's log, and their names without a server."""

from __future__ import annotations

import errno
import json
import logging
import os
import pathlib
import signal
import stat
import subprocess
import sys
import threading
import time
import unicodedata

import numpy as np
import pytest
import wandb
from helpers import history, python, records

from tf_hfwb.errors import ArtifactNotFoundError, SettingError, TFHFWBError
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import Tracker, artifact_journal, open_tracker
from tf_hfwb.tracking.artifact_logging import log_directory, plain_metadata
from tf_hfwb.tracking.artifact_lookup import directory_of
from tf_hfwb.tracking.artifact_names import (
    ArtifactReference,
    artifact_name,
    check_artifact_name,
    looks_like_reference,
    parse_reference,
)

pytestmark = pytest.mark.core

# -- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run_name", "expected"),
    [
        ("bert-base-high-lr", "checkpoint-bert-base-high-lr"),
        ("org/bert", "checkpoint-org-bert"),
        ("org // bert: (large)", "checkpoint-org-bert-large"),
        ("a - b", "checkpoint-a-b"),
        ("lr--5e-05_v1.2", "checkpoint-lr--5e-05_v1.2"),
        ("Größe", "checkpoint-Gr-e-aedc3f80"),
        ("名前", "checkpoint-7ec26292"),
        ("///", "checkpoint-id"),
        ("", "checkpoint-id"),
        (None, "checkpoint-id"),
    ],
)
def test_names_are_made_of_the_runs_name(run_name, expected):
    assert artifact_name("checkpoint", run_name, "id") == expected


def test_a_name_is_never_empty_and_the_client_takes_every_one():
    assert artifact_name("model", None, "") == "model"
    assert artifact_name("model", "", "a b") == "model-a-b"
    for run_name in [*map(chr, range(1, 400)), "x" * 500, "\n", "a\nb", "-", "."]:
        wandb.Artifact(artifact_name("model", run_name, "id"), "model")


def test_a_long_name_is_cut_and_stays_apart_from_its_like():
    long = artifact_name("model", "x" * 200 + "1", "id")
    assert len(long) == 128
    assert long != artifact_name("model", "x" * 200 + "2", "id")
    assert long == artifact_name("model", "x" * 200 + "1", "other id")
    assert artifact_name("model", "x" * 122, "id") == "model-" + "x" * 122


def test_names_in_other_scripts_stay_apart():
    korean = ["\uc2e4\ud5d8 2", "\ud14c\uc2a4\ud2b8 2", "\uc2e4\ud5d8", "\ud14c\uc2a4\ud2b8"]
    latin = ["caf\u00e9", "caf\u00e8", "run \U0001f680", "run \U0001f525", "run", "2"]
    korean = ["\uc2e4\ud5d8 2", "\ud14c\uc2a4\ud2b8 2", "\uc2e4\ud5d8", "\ud14c\uc2a4\ud2b8"]
    latin = ["caf\u00e9", "caf\u00e8", "run \U0001f680", "run \U0001f525", "run", "2"]
    names = [*korean, *latin, "\u5b9f\u9a13" * 200, "\u5b9f\u9a13" * 199]
    made = [artifact_name("model", name, "id") for name in names]
    assert len(set(made)) == len(names)
    assert all(len(name) <= 128 for name in made)
    decomposed = [unicodedata.normalize("NFD", name) for name in names]  # As macOS types them.
    assert [artifact_name("model", name, "another id") for name in decomposed] == made


def test_the_users_own_name_is_checked_and_not_changed():
    assert check_artifact_name("my_model-1.0") == "my_model-1.0"
    with pytest.raises(SettingError, match=r"artifact_name='org/bert' cannot be used.*letters.*'org-bert'"):
        check_artifact_name("org/bert")
    for name in ("", "x" * 129, "größe", "a:b", "a\n"):
        with pytest.raises(SettingError):
            check_artifact_name(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e/p/n:best", ("e", "p", "n", "best")),
        ("p/n:step-100", (None, "p", "n", "step-100")),
        ("n:epoch-1.00", (None, None, "n", "epoch-1.00")),
        (" n ", (None, None, "n", "latest")),
    ],
)
def test_references_are_taken_apart(text, expected):
    assert parse_reference(text) == ArtifactReference(*expected)
    assert parse_reference(str(parse_reference(text))) == parse_reference(text)


@pytest.mark.parametrize("text", ["", ":best", "n:", "a/b/c/d:best", "a//b:best", "n:best:x", "https://x/y:1"])
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(SettingError, match="entity/project/name:alias"):
        parse_reference(text)
    assert not looks_like_reference(text)


def test_only_names_with_an_alias_are_taken_for_references():
    assert looks_like_reference("checkpoint-bert:latest")
    assert looks_like_reference("team/glue/checkpoint-bert:v3")
    for text in ("checkpoint-bert", "org/bert", "./out:best", "../out:x", "~/out:x", r"C:\out", "/out:best"):
        assert not looks_like_reference(text)


# -- the journal ---------------------------------------------------------------------------------------------------


def note(name: str, directory: str, *aliases: str, **more) -> str:
    """Record an artifact in a journal in the current directory."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.abspath(directory)
    artifact_journal.record(".", artifact_journal.Entry(name, "model", path, aliases, **{"project": "p", **more}))
    return path


def test_an_alias_sits_on_the_newest_entry_that_claimed_it():
    first = note("c", "1", "step-1", "best")
    second = note("c", "2", "step-2", "best")
    third = note("c", "3", "step-3")
    note("other", "4", "best")
    assert artifact_journal.resolve("c:best", ".") == second
    assert artifact_journal.resolve("c:step-1", ".") == first
    assert artifact_journal.resolve("c", ".") == artifact_journal.resolve("c:latest", ".") == third


def test_project_and_entity_restrict_where_they_are_given():
    mine = note("c", "1", project="p", entity="me")
    offline = note("c", "2", project="q")
    assert artifact_journal.resolve("c", ".") == offline
    assert artifact_journal.resolve("p/c", ".") == artifact_journal.resolve("me/p/c:latest", ".") == mine
    assert artifact_journal.resolve("team/q/c", ".") == offline
    with pytest.raises(ArtifactNotFoundError, match=r"'you/p/c:latest' is known.*: q/c, me/p/c\. Pass"):
        artifact_journal.resolve("you/p/c", ".")


def test_latest_passes_over_a_directory_that_has_gone_with_a_note(caplog):
    first, second = note("c", "1", "best"), note("c", "2", "step-2", "final")
    os.rmdir(second)
    assert artifact_journal.resolve("c:latest", ".") == first
    assert second in caplog.text
    for alias in ("step-2", "final"):
        with pytest.raises(ArtifactNotFoundError, match="has gone, or holds") as caught:
            artifact_journal.resolve(f"c:{alias}", ".")
        assert second in str(caught.value)
        assert caught.value.known == ("latest", "best")
    os.rmdir(first)
    with pytest.raises(ArtifactNotFoundError, match=r"Every directory of 'c:latest' has gone: .*2, .*1\."):
        artifact_journal.resolve("c", ".")


def test_the_best_that_has_gone_does_not_become_an_older_best():
    note("c", "1", "best")
    os.rmdir(note("c", "2", "best"))
    with pytest.raises(ArtifactNotFoundError, match="has gone"):
        artifact_journal.resolve("c:best", ".")


def test_unknown_names_and_aliases_are_answered_with_the_known_ones():
    with pytest.raises(ArtifactNotFoundError, match="there is none") as caught:
        artifact_journal.resolve("c", ".")
    assert isinstance(caught.value, TFHFWBError)
    assert isinstance(caught.value, OSError)
    note("c", "1", "step-1", "best")
    note("d", "2")
    with pytest.raises(ArtifactNotFoundError, match=r"'x:best' is known on this machine.*: p/d, p/c\.") as caught:
        artifact_journal.resolve("x:best", ".")
    assert caught.value.known == ("p/d", "p/c")
    with pytest.raises(ArtifactNotFoundError, match=r"'c' has the alias 'final'.*: latest, step-1, best\. Pass"):
        artifact_journal.resolve("c:final", ".")
    with pytest.raises(
        ArtifactNotFoundError, match=r"version numbers are given by the server.*: latest, step-1, best\."
    ):
        artifact_journal.resolve("c:v3", ".")


@pytest.mark.parametrize(
    "torn", [b'{"name": "c", "type": "mo', b"{}\n", b"[1]\n", b"\xff\n", b"null\n", b'{"name": 1}']
)
def test_a_torn_line_is_ignored_and_spoils_nothing(torn):
    first = note("c", "1", "best")
    with open(artifact_journal.FILE, "ab") as file:
        file.write(torn)
    assert artifact_journal.resolve("c", ".") == first
    second = note("c", "2")
    assert artifact_journal.resolve("c", ".") == second
    assert artifact_journal.resolve("c:best", ".") == first


def test_a_file_system_that_cannot_sync_directories_will_do(monkeypatch):
    sync = os.fsync

    def sync_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync_files)
    path = note("c", "1")
    assert artifact_journal.resolve("c", ".") == path


WRITER = """
import sys
from tf_hfwb.tracking import artifact_journal
for number in range(int(sys.argv[2])):
    entry = artifact_journal.Entry(f"{sys.argv[1]}", "model", "/" + "x" * 500, (f"step-{number}",))
    artifact_journal.record(".", entry)
    print(number, flush=True)
"""


def test_several_processes_write_at_once_and_one_is_killed():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, name, number], stdout=subprocess.PIPE, env=environment)
        for name, number in (("a", "100"), ("b", "100"), ("killed", "1000000"))
    ]
    assert [process.wait(60) for process in started[:2]] == [0, 0]
    started[2].send_signal(signal.SIGKILL)
    announced = len(started[2].communicate()[0].splitlines())
    assert announced > 0
    steps = {
        name: [e.aliases[0] for e in artifact_journal.entries(".") if e.name == name] for name in ("a", "b", "killed")
    }
    assert steps["a"] == steps["b"] == [f"step-{number}" for number in range(100)]
    assert steps["killed"][:announced] == [f"step-{number}" for number in range(announced)]
    assert len(steps["killed"]) <= announced + 1


# -- logging -------------------------------------------------------------------------------------------------------


def directory(name: str = "out/checkpoint-5", size: int = 100) -> pathlib.Path:
    path = pathlib.Path(name)
    (path / "tokenizer").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(os.urandom(size))
    (path / "tokenizer" / "vocab.txt").write_text("a\nb\n")
    return path


def artifacts(run_directory: str) -> list[dict]:
    return [record["artifact"] for record in records(run_directory) if record["type"] == "artifact"]


def test_a_directory_is_logged_where_it_lies_and_found_again():
    tracker = open_tracker(Settings.resolve(project="glue"))
    path, run_directory = directory(size=3_000_000), tracker.directory
    metadata = {"eval/loss": np.float32(0.5), "eval/f1": float("nan"), "global_step": 5, "monitor": None}
    log_directory(tracker, path, name="checkpoint-x", aliases=["step-5", "best", "latest", "best"], metadata=metadata)
    metadata["global_step"] = -1  # The caller's own again.
    tracker.finish()

    (logged,) = artifacts(run_directory)
    assert (logged["name"], logged["type"]) == ("checkpoint-x", "model")
    assert sorted(logged["aliases"]) == ["best", "latest", "step-5"]
    assert json.loads(logged["metadata"]) == {"eval/loss": 0.5, "eval/f1": "NaN", "global_step": 5}
    files = {entry["path"]: entry["local_path"] for entry in logged["manifest"]["contents"]}
    assert files == {name: str(path.absolute() / name) for name in ("model.safetensors", "tokenizer/vocab.txt")}

    assert directory_of("checkpoint-x:best") == directory_of("glue/checkpoint-x") == str(path.absolute())
    (entry,) = artifact_journal.entries(os.path.dirname(run_directory))
    assert (entry.aliases, entry.step, entry.project, entry.entity) == (("step-5", "best"), 5, "glue", None)
    assert entry.run_id == logged["run_id"]
    assert abs(entry.time - time.time()) < 60


def test_nothing_is_copied(monkeypatch):
    for name in ("DATA", "CACHE", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", os.path.abspath(name))
    path = directory(size=3_000_000)
    tracker = open_tracker(Settings.resolve())
    log_directory(tracker, path, name="x")
    tracker.finish()
    elsewhere = [file for file in pathlib.Path().rglob("*") if file.is_file() and path not in file.parents]
    assert sum(file.stat().st_size for file in elsewhere) < 1_000_000


def test_the_journal_is_where_the_client_puts_its_runs(monkeypatch):
    pathlib.Path("elsewhere").mkdir()
    monkeypatch.setenv("WANDB_DIR", os.path.abspath("elsewhere"))
    tracker = open_tracker(Settings.resolve())
    log_directory(tracker, directory(), name="x")
    tracker.finish()
    assert pathlib.Path("elsewhere/wandb", artifact_journal.FILE).exists()
    assert directory_of("x").endswith("checkpoint-5")
    code = "from tf_hfwb.tracking.artifact_lookup import directory_of as find; print(find('x:latest'))"
    assert python("-c", code).stdout.strip() == os.path.abspath("out/checkpoint-5")
    assert "ArtifactNotFoundError" in python("-c", code, WANDB_DIR=None, check=False).stderr


def test_rows_do_not_wait_for_artifacts():
    tracker, gate, written = open_tracker(Settings.resolve()), threading.Event(), threading.Event()
    tracker.submit_slow("Waiting", gate.wait)
    tracker.submit(tracker.log, {"a": 1})
    tracker.submit(written.set)
    assert written.wait(30)
    gate.set()
    tracker.flush()


def test_a_script_that_ends_waits_for_its_artifacts():
    directory(size=200_000_000)
    finished = python(
        "-c",
        "from tf_hfwb.settings import Settings\n"
        "from tf_hfwb.tracking import open_tracker\n"
        "from tf_hfwb.tracking.artifact_logging import log_directory\n"
        "tracker = open_tracker(Settings.resolve())\n"
        "log_directory(tracker, 'out/checkpoint-5', name='x')\n"
        "print(tracker.directory)\n",
    )
    kinds = [record["type"] for record in records(finished.stdout.strip())]
    assert kinds.index("artifact") < kinds.index("exit")


def test_a_failure_is_reported_once_and_counted(caplog):
    tracker = open_tracker(Settings.resolve())
    os.makedirs("empty")
    with caplog.at_level(logging.WARNING, logger="tf_hfwb"):
        log_directory(tracker, "gone", name="x")
        log_directory(tracker, "empty", name="x")
        log_directory(tracker, directory(), name="a/b")
        tracker.submit(tracker.log, {"a": 1})
        tracker.flush()
        tracker.flush()
        run_directory = tracker.directory
        tracker.finish()
    first, counted = [record.message for record in caplog.records if record.name == "tf_hfwb"]
    assert first.startswith(f"Logging artifact 'x' from {os.path.abspath('gone')} failed (FileNotFoundError")
    assert counted == "3 artifacts could not be written to the W&B run."
    with pytest.raises(ArtifactNotFoundError):
        directory_of("x")
    assert [row["a"] for row in history(run_directory)] == [1]
    assert not artifacts(run_directory)


def test_without_a_run_nothing_is_logged(monkeypatch):
    log_directory(Tracker(), directory(), name="x")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    tracker = open_tracker(Settings.resolve())
    jobs: list = []
    monkeypatch.setattr(tracker, "submit_slow", lambda *job: jobs.append(job))
    log_directory(tracker, "out/checkpoint-5", name="x")
    assert jobs == []
    assert tracker.identity == {}


def test_metadata_is_what_the_client_takes(caplog):
    values = {"a": np.int64(3), "b": True, "c": [float("inf"), -np.inf], "d": {"e": np.float64("nan")}, "f": None}
    expected = {"a": 3, "b": True, "c": ["Infinity", "-Infinity"], "d": {"e": "NaN"}}
    assert plain_metadata(values) == expected
    assert wandb.Artifact("x", "model", metadata=plain_metadata(values)).metadata == expected
    many = {**{f"eval/f1_{number:03}": 0.5 for number in range(120)}, "global_step": 5}
    kept = plain_metadata(many)
    assert len(wandb.Artifact("x", "model", metadata=kept).metadata) == 100
    assert kept["global_step"] == 5
    assert "eval/f1_098" in kept
    assert "left out: eval/f1_099, " in caplog.text


def test_the_identity_of_a_run():
    tracker = open_tracker(Settings.resolve(project="glue"), name="bert")
    assert tracker.identity == {"id": tracker.run.id, "project": "glue", "name": "bert"}
    tracker.finish()
    assert "name" not in open_tracker(Settings.resolve()).identity
