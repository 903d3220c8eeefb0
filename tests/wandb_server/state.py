"""What the server remembers: runs, artifact collections and the bytes of files. Nothing here knows HTTP or GraphQL."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_numbers = itertools.count(1)


class RefusedError(Exception):
    """The server says no: the client reads the message in the answer's ``errors``."""


def new_id(kind: str) -> str:
    """An identifier as the client expects it: base64 of a kind and a number."""
    return base64.b64encode(f"{kind}:{next(_numbers)}".encode()).decode()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(eq=False, repr=False)
class Project:
    entity: str
    name: str
    id: str = field(default_factory=lambda: new_id("Project"))
    created_at: str = field(default_factory=now)
    runs: dict[str, Run] = field(default_factory=dict)
    collections: dict[str, Collection] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{self.entity}/{self.name}>"

    @property
    def number(self) -> int:
        return int(base64.b64decode(self.id).decode().split(":")[1])


@dataclass(eq=False, repr=False)
class Run:
    """A run as uploaded; the properties are what a test asks for.

    ``state`` is "running", "finished", "failed", "preempting" or whatever a client has set by name.
    ``streams`` holds the lines of each streamed file at their offsets.
    """

    project: Project
    id: str
    storage_id: str = field(default_factory=lambda: new_id("Run"))
    attributes: dict[str, Any] = field(default_factory=dict)
    raw_config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    state: str = "running"
    exit_code: int | None = None
    preempting: bool = False
    stop_requested: bool = False
    streams: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    inputs: list[Artifact] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    created_at: str = field(default_factory=now)
    heartbeat_at: str = field(default_factory=now)

    def __repr__(self) -> str:
        return f"<run {self.id} {self.state}>"

    @property
    def name(self) -> str:
        return self.attributes.get("displayName") or self.id

    @property
    def config(self) -> dict[str, Any]:
        return {key: entry["value"] for key, entry in self.raw_config.items() if key != "_wandb"}

    @property
    def history(self) -> list[dict[str, Any]]:
        """The logged rows with the client's own columns; "NaN" and the like are floats."""
        return [json.loads(line) for line in self.lines("wandb-history.jsonl")]

    @property
    def console(self) -> list[str]:
        return self.lines("output.log")

    def lines(self, name: str) -> list[str]:
        return list(self.streams.get(name, []))

    def stream(self, name: str, offset: int, lines: list[str]) -> None:
        """Put lines at their offset: what is sent again after a lost answer lands where it was."""
        stored = self.streams.setdefault(name, [])
        if offset > len(stored):
            raise ValueError(f"{name}: lines at {offset}, but only {len(stored)} are there")
        stored[offset : offset + len(lines)] = lines
        if name == "wandb-summary.json":
            self.summary = json.loads(lines[-1])


@dataclass(eq=False, repr=False)
class Artifact:
    """The content of a version: one object, whatever the number of collections that list it."""

    sequence: Collection
    type: str
    digest: str
    client_id: str | None
    id: str = field(default_factory=lambda: new_id("Artifact"))
    state: str = "PENDING"
    metadata: dict[str, Any] = field(default_factory=dict)
    description: str | None = None
    tags: list[str] = field(default_factory=list)
    ttl_seconds: int | None = None
    history_step: int | None = None
    wanted_aliases: list[str] = field(default_factory=list)
    announced: dict[str, str] = field(default_factory=dict)
    manifest: bytes | None = None
    is_incremental: bool = False
    logged_by: Run | None = None
    created_at: str = field(default_factory=now)

    def __repr__(self) -> str:
        return f"<artifact of {self.sequence.name} {self.state}>"

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        """The manifest's contents: path to digest, size, reference and so on."""
        return {} if self.manifest is None else json.loads(self.manifest)["contents"]

    @property
    def size(self) -> int:
        return sum(entry.get("size", 0) for entry in self.entries.values())


@dataclass(eq=False, repr=False)
class Version:
    """The place of an artifact in a collection: its own in the sequence, a link in a portfolio."""

    collection: Collection
    number: int
    artifact: Artifact
    aliases: list[str] = field(default_factory=list)
    deleted: bool = False
    id: str = field(default_factory=lambda: new_id("ArtifactCollectionMembership"))
    created_at: str = field(default_factory=now)

    def __repr__(self) -> str:
        return f"<{self.name} {self.state} {self.aliases}>"

    @property
    def name(self) -> str:
        return f"{self.collection.name}:v{self.number}"

    @property
    def state(self) -> str:
        return self.artifact.state

    @property
    def digest(self) -> str:
        return self.artifact.digest

    @property
    def metadata(self) -> dict[str, Any]:
        return self.artifact.metadata

    @property
    def files(self) -> dict[str, bytes]:
        """Path to bytes, references left out; nothing once the version is deleted."""
        if self.deleted:
            return {}
        store = self.collection.store
        entries = self.artifact.entries.items()
        return {path: store.blobs[entry["digest"]] for path, entry in entries if "ref" not in entry}

    @property
    def links(self) -> list[Version]:
        """Where other collections list this artifact."""
        return [place for place in self.collection.store.places(self.artifact) if place is not self]


@dataclass(eq=False, repr=False)
class Collection:
    """A sequence (versions that runs logged under one name) or a portfolio (links to versions of others)."""

    store: Store
    project: Project
    name: str
    kind: str
    type: str
    id: str = ""
    description: str | None = None
    tags: list[str] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    created_at: str = field(default_factory=now)

    def __post_init__(self) -> None:
        self.id = new_id(self.kind)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} {self.versions}>"

    @property
    def present(self) -> list[Version]:
        return [version for version in self.versions if not version.deleted]

    @property
    def latest(self) -> Version | None:
        return next(reversed(self.present), None)

    @property
    def pending(self) -> list[Artifact]:
        """Artifacts of this sequence that were begun and not committed."""
        return [a for a in self.store.artifacts.values() if a.sequence is self and a.state == "PENDING"]

    def find(self, alias: str) -> Version | None:
        """The version that has an alias; "v3" is the number."""
        return next((version for version in self.present if alias in (f"v{version.number}", *version.aliases)), None)

    def add(self, artifact: Artifact, aliases: list[str]) -> Version:
        """Give an artifact the next number here; numbers are not used again. ``latest`` goes to the newest."""
        version = Version(self, len(self.versions), artifact)
        self.versions.append(version)
        self.move_aliases(version, [*aliases, "latest"])
        return version

    def move_aliases(self, version: Version, aliases: list[str]) -> None:
        """An alias is on one version of a collection at a time."""
        for other in self.versions:
            other.aliases = [alias for alias in other.aliases if alias not in aliases or other is version]
        version.aliases += [alias for alias in dict.fromkeys(aliases) if alias not in version.aliases]

    def remove(self, version: Version) -> None:
        was_latest = "latest" in version.aliases
        version.deleted, version.aliases = True, []
        if was_latest and self.latest:
            self.move_aliases(self.latest, ["latest"])


@dataclass(eq=False, repr=False)
class Sweep:
    """A search: its configuration, and the runs that its agents were given, with their parameters."""

    project: Project
    config: dict[str, Any]
    id: str = field(default_factory=lambda: new_id("Sweep"))
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    state: str = "RUNNING"
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    agents: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<sweep {self.name} {self.state}>"

    @property
    def runs(self) -> list[Run]:
        """Those that have begun."""
        return [self.project.runs[name] for name in self.trials if name in self.project.runs]


class Store:
    """Everything that the server holds.

    ``blobs`` are the bytes of artifact files by digest (base64 of the MD5): the same bytes are stored once, and are
    dropped when no version needs them any more.
    """

    def __init__(self) -> None:
        self.projects: dict[tuple[str, str], Project] = {}
        self.sweeps: dict[str, Sweep] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.manifests: dict[str, Artifact] = {}
        self.blobs: dict[str, bytes] = {}
        self.first_holder: dict[str, str] = {}

    # Runs

    def project(self, entity: str, name: str) -> Project:
        return self.projects.setdefault((entity, name), Project(entity, name))

    def runs(self) -> Iterator[Run]:
        return (run for project in list(self.projects.values()) for run in list(project.runs.values()))

    def run_by_storage_id(self, storage_id: str) -> Run:
        found = next((run for run in self.runs() if run.storage_id == storage_id), None)
        if found is None:
            raise RefusedError(f"no run {storage_id}")
        return found

    def delete_run(self, run: Run, *, with_artifacts: bool) -> None:
        del run.project.runs[run.id]
        for artifact in self.outputs(run):
            if with_artifacts:
                self.delete(artifact, delete_aliases=True)

    def outputs(self, run: Run) -> list[Artifact]:
        return [a for a in self.artifacts.values() if a.logged_by is run and a.state == "COMMITTED"]

    # Collections and versions

    def collections(self) -> Iterator[Collection]:
        return (found for project in list(self.projects.values()) for found in list(project.collections.values()))

    def collection_by_id(self, collection_id: str) -> Collection:
        found = next((collection for collection in self.collections() if collection.id == collection_id), None)
        if found is None:
            raise RefusedError(f"no collection {collection_id}")
        return found

    def collection(self, project: Project, name: str, kind: str, type: str) -> Collection:
        """The collection of that name, made if there is none; a name keeps its kind and type."""
        found = project.collections.get(name)
        if found is None:
            found = project.collections[name] = Collection(self, project, name, kind, type)
        if (found.kind, found.type) != (kind, type):
            raise RefusedError(f"{name} is a {found.kind} of type {found.type}, not a {kind} of type {type}")
        return found

    def places(self, artifact: Artifact) -> list[Version]:
        """The versions, over all collections, that are this artifact."""
        return [v for collection in self.collections() for v in collection.present if v.artifact is artifact]

    def artifact(self, artifact_id: str) -> Artifact:
        if artifact_id not in self.artifacts:
            raise RefusedError(f"no artifact {artifact_id}")
        return self.artifacts[artifact_id]

    def by_client_id(self, client_id: str | None) -> Artifact | None:
        known = (artifact for artifact in self.artifacts.values() if artifact.client_id == client_id)
        return next(known, None) if client_id else None

    def begin(self, collection: Collection, digest: str, client_id: str | None, aliases: list[str]) -> Artifact:
        """The artifact to upload into, or the collection's latest version if that has this content already.

        The same client asks again after a lost answer, and gets the artifact that it got before.
        """
        asked_before = self.by_client_id(client_id)
        if asked_before is not None and asked_before.state != "DELETED":
            return asked_before
        if collection.latest and collection.latest.digest == digest:
            collection.move_aliases(collection.latest, aliases)
            return collection.latest.artifact
        artifact = Artifact(collection, collection.type, digest, client_id, wanted_aliases=aliases)
        self.artifacts[artifact.id] = artifact
        return artifact

    def commit(self, artifact: Artifact) -> None:
        """Make an uploaded artifact the next version of its collection."""
        if artifact.state == "COMMITTED":
            return
        if artifact.manifest is None:
            raise RefusedError(f"artifact {artifact.id} has no manifest")
        missing = [path for path, e in artifact.entries.items() if "ref" not in e and e["digest"] not in self.blobs]
        if missing:
            raise RefusedError(f"artifact {artifact.id} lacks the bytes of {missing}")
        before = artifact.sequence.latest
        if artifact.is_incremental and before is not None:  # It adds to the version before it.
            contents = {**before.artifact.entries, **artifact.entries}
            artifact.manifest = json.dumps({**json.loads(artifact.manifest), "contents": contents}).encode()
        artifact.state = "COMMITTED"
        artifact.sequence.add(artifact, artifact.wanted_aliases)

    def link(self, artifact: Artifact, project: Project, name: str, aliases: list[str]) -> Version:
        """List an artifact in a portfolio under the portfolio's next number; once only."""
        portfolio = self.collection(project, name, "ArtifactPortfolio", artifact.type)
        there = next((version for version in portfolio.present if version.artifact is artifact), None)
        if there is None:
            return portfolio.add(artifact, aliases)
        portfolio.move_aliases(there, aliases)
        return there

    def delete(self, artifact: Artifact, *, delete_aliases: bool) -> None:
        """Delete a version with its links; refused while any of them has aliases."""
        places = self.places(artifact)
        held = [alias for place in places for alias in place.aliases]
        if held and not delete_aliases:
            raise RefusedError(f"cannot delete an artifact that has aliases: {held}")
        artifact.state = "DELETED"
        for place in places:
            place.collection.remove(place)
        self.drop_unneeded_blobs()

    def drop_unneeded_blobs(self) -> None:
        present = [artifact for artifact in self.artifacts.values() if artifact.state != "DELETED"]
        needed = {digest for artifact in present for digest in artifact.announced.values()}
        needed |= {entry["digest"] for artifact in present for entry in artifact.entries.values()}
        self.blobs = {digest: blob for digest, blob in self.blobs.items() if digest in needed}

    # Bytes

    def put_blob(self, artifact: Artifact, digest: str, content: bytes) -> None:
        """Keep a file of an artifact, if it is what its digest says."""
        received = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        if received != digest:
            raise RefusedError(f"received bytes with MD5 {received}, expected {digest}")
        self.blobs[digest] = content
        self.first_holder[digest] = artifact.id
