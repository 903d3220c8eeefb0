"""Artifacts that a stranger has made: nothing is written or read where it must not be. The attacks are harmless."""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import stat
import threading
import traceback
import types
import urllib.parse
from typing import ClassVar

import pytest
import wandb

from tf_hfwb.errors import ServerError, UnsafeArtifactError
from tf_hfwb.tracking import artifact_downloads, file_download
from tf_hfwb.tracking.artifact_lookup import directory_of
from tf_hfwb.tracking.private_folder import private_folder
from tf_hfwb.tracking.wandb_server import cache_folder

pytestmark = pytest.mark.core

FILES = {"weights.bin": b"0123456789" * 1000, "assets/vocab.txt": b"word\n"}


@pytest.fixture
def version(server):
    """A good artifact of somebody else's, on the server."""
    source = pathlib.Path("source")
    for name, content in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    with wandb.init(project="huggingface", settings=wandb.Settings(silent=True)) as run:
        artifact = wandb.Artifact("stranger", "model")
        artifact.add_dir(str(source))
        run.log_artifact(artifact).wait()
    wandb.teardown()
    return server.collection("stranger").versions[0]


def rewritten(version, change) -> None:
    """Rewrite an artifact's manifest."""
    manifest = json.loads(version.artifact.manifest)
    change(manifest["contents"])
    version.artifact.manifest = json.dumps(manifest).encode()


def tree(directory) -> dict[str, bytes]:
    paths = pathlib.Path(directory).rglob("*")
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def test_what_would_be_written_or_read_elsewhere_is_refused_whole(version, tmp_path, monkeypatch):
    good = version.artifact.manifest
    secret = tmp_path / "of_this_machine"
    secret.write_text("0")
    file = json.loads(good)["contents"]["weights.bin"]

    def named(*names):
        return lambda contents: contents.update(dict.fromkeys(names, file))

    def with_file(**fields):
        return lambda contents: contents.update({"weights.bin": {**file, **fields}})

    def reference(target):
        return lambda contents: contents.update({"linked": {"digest": "x", "ref": target, "size": 1}})

    up = "../" * 12
    monkeypatch.setattr(type(version.artifact), "size", 1)  # The stand-in server would add up what the manifest says.
    attacks = {
        "up and out": (named(f"{up}{tmp_path}/pwned"), "outside of its directory"),
        "one up": (named("../pwned"), "outside of its directory"),
        "down and up": (named("a/../../pwned"), "outside of its directory"),
        "absolute": (named(f"{tmp_path}/pwned"), "outside of its directory"),
        "backslash": (named("..\\pwned"), "outside of its directory"),
        "drive": (named("C:pwned"), "outside of its directory"),
        "empty": (named(""), "outside of its directory"),
        "here": (named("./pwned"), "more than one way"),
        "nul": (named("pwned\0.txt"), "a character that no name has"),
        "case": (named("Weights.bin"), "names one file twice"),
        "unicode": (named("caf\u00e9", "cafe\u0301"), "names one file twice"),
        "a file as a directory": (named("weights.bin/pwned"), "a file within a file"),
        "while it is downloaded": (named("weights.bin.part"), "while it is downloaded"),
        "negative": (with_file(size=-5), "-5"),
        "no number": (with_file(size="large"), "large"),
        "no size": (lambda contents: contents.update({"more": {"digest": file["digest"]}}), "how large"),
        "a local file": (reference(secret.as_uri()), "is the reference"),
        "a local path": (reference(str(secret)), "is the reference"),
        "another artifact": (reference("wandb-artifact://0123/x"), "is the reference"),
        "too many": (lambda contents: contents.update({str(n): file for n in range(100_000)}), "100002 files"),
    }
    for name, (change, reason) in attacks.items():
        version.artifact.manifest = good
        rewritten(version, change)
        with pytest.raises(UnsafeArtifactError, match="is refused") as caught:
            directory_of("stranger:latest")
        assert reason in str(caught.value), name
        assert not list(tmp_path.rglob("pwned*")), name
        assert tree(cache_folder()) == {}, name
    version.artifact.manifest = good
    assert tree(directory_of("stranger:latest")) == FILES


def test_what_was_planted_in_the_cache_is_neither_followed_nor_used(version, tmp_path):
    outside, target = tmp_path / "outside", pathlib.Path(directory_of("stranger:latest"))
    partial, lock = target.with_name(f"{target.name}.partial"), target.with_name(f"{target.name}.lock")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def fetched() -> None:
        assert pathlib.Path(directory_of("stranger:latest")) == target
        assert tree(target) == FILES
        assert not [path for path in target.rglob("*") if path.is_symlink()]
        assert not partial.exists()
        assert outside.read_bytes() == b"mine"
        assert list(elsewhere.iterdir()) == []

    def begun() -> None:
        """As a download that was interrupted before its first file was whole."""
        for file in ("weights.bin", "assets/vocab.txt"):
            (target / file).unlink()
        target.rename(partial)

    outside.write_bytes(b"mine")
    for plant in (os.symlink, os.link):
        begun()
        plant(outside, partial / "weights.bin.part")
        plant(outside, partial / "weights.bin")
        lock.unlink()
        plant(outside, lock)
        fetched()
    begun()
    (partial / "assets").rmdir()
    (partial / "assets").symlink_to(elsewhere)
    fetched()
    begun()
    (partial / "weights.bin.part").mkdir()
    (partial / "assets").rmdir()
    os.mkfifo(partial / "assets")
    fetched()
    target.rename(tmp_path / "moved")
    partial.symlink_to(elsewhere)
    fetched()
    target.rename(tmp_path / "moved again")
    target.symlink_to(tmp_path / "moved")
    fetched()
    (target / "more.keras").write_text("what would be loaded instead")
    fetched()
    (target / "weights.bin").unlink()
    (target / "weights.bin").symlink_to(tmp_path / "moved/weights.bin")
    fetched()
    (target / "weights.bin").write_bytes(b"9" * len(FILES["weights.bin"]))
    fetched()


def test_a_folder_that_is_not_the_users_alone_is_not_trusted(tmp_path, caplog):
    mine, home = tmp_path / "cache/tf_hfwb", pathlib.Path.home()
    assert private_folder(mine) == mine
    assert stat.S_IMODE(mine.stat().st_mode) == 0o700
    mine.chmod(0o777)
    assert private_folder(mine) == mine
    assert stat.S_IMODE(mine.stat().st_mode) == 0o755
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    own = home / ".cache/tf_hfwb"
    assert private_folder(shared / "tf_hfwb") == own
    assert f"others can replace it, since they can write to {shared}. " not in caplog.text
    assert f"since they can write to {shared}, but into {own}" in caplog.text
    shared.chmod(0o1777)  # As /tmp.
    assert private_folder(shared / "tf_hfwb") == shared / "tf_hfwb"
    (shared / "link").symlink_to(mine)
    assert private_folder(shared / "link") == own
    home.chmod(0o777)
    with pytest.raises(ServerError, match=r"it is a link; nor into .*Set WANDB_CACHE_DIR"):
        private_folder(shared / "link")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_users_is_not_used(tmp_path, caplog):
    theirs = tmp_path / "tf_hfwb"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 12345, 12345)
    assert private_folder(theirs) == pathlib.Path.home() / ".cache/tf_hfwb"
    assert "belongs to another user" in caplog.text


def test_no_more_is_written_than_was_announced(version, monkeypatch):
    digest = json.loads(version.artifact.manifest)["contents"]["weights.bin"]["digest"]
    monkeypatch.setitem(version.collection.store.blobs, digest, b"0" * (8 << 20))
    with pytest.raises(UnsafeArtifactError, match=r"More came of 'weights.bin' than the 10000 bytes"):
        directory_of("stranger:latest")
    assert sum(map(len, tree(cache_folder()).values())) <= 10_000 + len(FILES["assets/vocab.txt"])
    monkeypatch.setattr(artifact_downloads.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=100))
    with pytest.raises(ServerError, match=r"it takes 10000 bytes, and .* 100 are free"):
        directory_of("stranger:latest")


def test_what_this_machine_has_is_taken_only_if_every_file_is_the_same(version, tmp_path):
    """The journal may lie in a folder that others write to."""
    from tf_hfwb.tracking import artifact_journal
    from tf_hfwb.tracking.artifact_lookup import runs_folder

    manifest = b'{"files": {}}'
    local = tmp_path / "local"
    (local / "assets").mkdir(parents=True)
    for name, content in {**FILES, "manifest.json": manifest}.items():
        (local / name).write_bytes(content)
    with wandb.init(project="huggingface", settings=wandb.Settings(silent=True)) as run:
        artifact = wandb.Artifact("stranger", "model")
        artifact.add_dir(str(local))
        run.log_artifact(artifact).wait()
    entry = artifact_journal.Entry("stranger", "model", str(local), digest=artifact_journal.manifest_digest(local))
    artifact_journal.record(runs_folder(), entry)
    assert directory_of("stranger:latest") == str(local)
    for name, content in {"weights.bin": b"9" * 10_000, "model.keras": b"what would be loaded instead"}.items():
        before = (local / name).read_bytes() if (local / name).exists() else None
        (local / name).write_bytes(content)
        assert directory_of("stranger:latest").startswith(cache_folder())
        (local / name).unlink()
        if before is not None:
            (local / name).write_bytes(before)
    assert directory_of("stranger:latest") == str(local)


SIGNATURE = "5igned0123456789"


class Liar(http.server.BaseHTTPRequestHandler):
    """Answers as its path says; never with what was asked for."""

    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Range"))
        kind = self.path.split("/")[1].split("?")[0]
        if kind == "file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif kind == "forbidden":
            self.send_error(403)
        elif kind == "compressed":
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
        else:  # The beginning again, as if it were the rest.
            self.send_response(206)
            self.send_header("Content-Range", "bytes 0-9/20")
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(b"0" * 10)

    def log_message(self, *_) -> None:
        pass


def test_a_server_that_lies_gives_an_error_without_the_signed_address(tmp_path, monkeypatch):
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()

        def fetched(url: str) -> None:
            entry = types.SimpleNamespace(path="a", size=20, digest="")
            again = types.SimpleNamespace(direct_url=url)
            artifact = types.SimpleNamespace(qualified_name="e/p/a:v0", files=lambda names: [again])
            bar = types.SimpleNamespace(update=lambda _: None)
            file_download.download_file({"a": url}, artifact, entry, tmp_path / "a", bar)

        for kind in ("file", "forbidden", "compressed", "part"):
            (tmp_path / "a.part").write_bytes(b"1" * 10)
            url = f"http://127.0.0.1:{listener.server_port}/{kind}?X-Unknown={SIGNATURE}&Signature={SIGNATURE}"
            with pytest.raises(ServerError, match=r"'a' of e/p/a:v0 could not be downloaded") as caught:
                fetched(url)
            assert SIGNATURE not in "".join(traceback.format_exception(caught.value))
        assert Liar.asked[-5:] == ["bytes=10-", None, None, None, None]  # Once it has lied, all is asked for.
        assert not (tmp_path / "a").exists()
        for url in ("file:///etc/hostname", "ftp://127.0.0.1/x", "/etc/hostname"):
            with pytest.raises(UnsafeArtifactError, match="none of the web"):
                fetched(url)
        listener.shutdown()


def test_a_reference_to_the_web_is_followed_and_nothing_planted_is(server, version, tmp_path):
    digest = json.loads(version.artifact.manifest)["contents"]["weights.bin"]["digest"]
    url = f"{server.url}/blobs/{urllib.parse.quote(digest, safe='')}"
    linked = {"digest": url, "ref": url, "size": len(FILES["weights.bin"])}
    rewritten(version, lambda contents: contents.update({"linked.bin": linked}))
    target = pathlib.Path(directory_of("stranger:latest"))
    whole = {**FILES, "linked.bin": FILES["weights.bin"]}
    assert tree(target) == whole
    before = len(server.requests)
    assert directory_of("stranger:latest") == str(target)
    assert not [request for request in server.requests[before:] if request.operation == "download_artifact_file"]
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (target / "linked.bin").unlink()
    (target / "linked.bin").symlink_to(outside)
    assert tree(directory_of("stranger:latest")) == whole
    assert outside.read_bytes() == b"mine"
