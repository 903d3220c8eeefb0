"""The GraphQL operations that the client sends, one function each, in one table.

There is no schema: an answer is a dictionary that holds at least what the client selects, under both the field's name
and the alias ``result`` that some documents use.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from .state import Artifact, Collection, Project, RefusedError, Run, Store, Version, now

Answer = dict[str, Any]

ORGANIZATION = "test-organization"
ORGANIZATION_ENTITY = "test-organization-registries"
FEATURES = (
    "ARTIFACT_REGISTRY_SEARCH",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
)


class UnknownOperationError(Exception):
    """An operation that this server does not know."""


class Operations:
    """Answers operations from a store.

    Args:
        store: What the server remembers.
        url: Where the server is; uploads and downloads are handed out below it.
        entity: The user's name, and the entity of runs that name none.
    """

    def __init__(self, store: Store, url: str, entity: str):
        self.store = store
        self.url = url
        self.entity = entity

    def answer(self, name: str, variables: Answer) -> Answer:
        """What goes into ``data``. The fields of an ``$input`` are taken as variables of their own."""
        if name not in OPERATIONS:
            raise UnknownOperationError(name)
        return OPERATIONS[name](self, {**variables, **(variables.get("input") or {})})

    def project(self, variables: Answer) -> Project:
        entity = variables.get("entity") or variables.get("entityName") or self.entity
        return self.store.project(entity, variables.get("project") or variables.get("projectName") or "uncategorized")

    def run(self, variables: Answer) -> Run | None:
        name = variables.get("name") or variables.get("run") or variables.get("runName")
        return self.project(variables).runs.get(name)

    def link(self, *parts: str) -> str:
        return "/".join([self.url, *(quote(part, safe="") for part in parts)])


OPERATIONS: dict[str, Callable[[Operations, Answer], Answer]] = {}


def operation(*names: str):
    """Enter a function into the table, under each name that the client uses for it."""

    def enter(function):
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return enter


def operation_name(body: Answer) -> str:
    """The operation's name, from the document if it is not given beside it."""
    found = re.search(r"\b(?:query|mutation)\s+(\w+)", body["query"])
    return body.get("operationName") or (found.group(1) if found else "")


def done(field: str, **values: Any) -> Answer:
    """The answer of a mutation, also under the alias that some documents give it."""
    return {field: values, "result": values}


def connection(nodes: Iterable[Answer], **edge: Any) -> Answer:
    """All nodes on one page."""
    edges = [{"node": node, "cursor": str(number), **edge} for number, node in enumerate(nodes)]
    return {"totalCount": len(edges), "edges": edges, "pageInfo": page_info()}


def page_info() -> Answer:
    return {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}


def plain(value: Any) -> Any:
    """The value with "NaN" and the like in words, because an answer is strict JSON."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


# Sessions


@operation("Viewer", "GetViewer", "GetDefaultEntity")
def viewer(ops: Operations, _: Answer) -> Answer:
    user = {"id": "VXNlcjox", "entity": ops.entity, "name": ops.entity, "username": ops.entity, "admin": False}
    more = {"email": "tests@example.com", "flags": "{}", "teams": connection([]), "apiKeys": connection([])}
    return {"viewer": {**user, **more, "deletedAt": None}}


@operation("ServerFeaturesQuery")
def server_features(_: Operations, __: Answer) -> Answer:
    return {"serverInfo": {"features": [{"name": name, "isEnabled": True} for name in FEATURES]}}


@operation("OrganizationCoreWeaveOrganizationID", "XXHashDigestsEnabled")
def entity_settings(_: Operations, __: Answer) -> Answer:
    return {"entity": {"organization": {"coreWeaveOrganizationId": None}, "xxhashDigestsEnabled": False}}


@operation("FetchOrgInfoFromEntity", "FetchOrgEntityFromEntity")
def organization_of_entity(_: Operations, __: Answer) -> Answer:
    organization = {"name": ORGANIZATION, "orgEntity": {"name": ORGANIZATION_ENTITY}}
    return {"entity": {"organization": organization, "user": {"organizations": [organization]}}}


# Runs: writing


@operation("UpsertBucket")
def upsert_run(ops: Operations, variables: Answer) -> Answer:
    inserted = False
    if variables.get("name"):
        project = ops.project(variables)
        inserted = variables["name"] not in project.runs
        run = project.runs.setdefault(variables["name"], Run(project, variables["name"]))
        run.state, run.exit_code = variables.get("state") or "running", None
    else:
        run = ops.store.run_by_storage_id(variables["id"])
    if "display_name" in variables:
        variables["displayName"] = variables["display_name"]
    for name in ("displayName", "groupName", "jobType", "notes", "description", "tags", "sweep", "program", "host"):
        if variables.get(name) is not None:
            run.attributes[name] = variables[name]
    if variables.get("config") is not None:
        run.raw_config = json.loads(variables["config"])
    if variables.get("summaryMetrics") is not None:
        run.summary = json.loads(variables["summaryMetrics"])
    return done("upsertBucket", bucket=run_fields(run), inserted=inserted)


@operation("RunResumeStatus")
def resume_status(ops: Operations, variables: Answer) -> Answer:
    run = ops.run(variables)
    bucket = None
    if run is not None:
        config = run.raw_config.get("_wandb", {}).get("value", {})
        bucket = {
            **run_fields(run),
            "historyTail": json.dumps(run.lines("wandb-history.jsonl")[-1:]),
            "eventsTail": json.dumps(run.lines("wandb-events.jsonl")[-1:]),
            "wandbConfig": json.dumps({"t": config["t"]} if "t" in config else {}),
        }
    return {"model": {**project_fields(ops.project(variables)), "bucket": bucket}}


def stream(run: Run, body: Answer) -> Answer:
    """Take a post to a run's file stream; the answer tells a run that was stopped through the API."""
    run.heartbeat_at = now()
    for name, chunk in (body.get("files") or {}).items():
        run.stream(name, chunk["offset"], chunk["content"])
    if body.get("preempting"):
        run.preempting = True
    if body.get("complete"):
        run.exit_code = body["exitcode"]
        run.state = "finished" if run.exit_code == 0 else "preempted" if run.preempting else "failed"
    return {"stopped": run.stop_requested}


@operation("CreateRunFiles")
def create_run_files(ops: Operations, variables: Answer) -> Answer:
    run = ops.run(variables)
    files = [{"name": name, "uploadUrl": run_file_url(ops, run, name)} for name in variables["files"]]
    return done("createRunFiles", runID=run.storage_id, uploadHeaders=[], files=files)


@operation("StopRun")
def stop_run(ops: Operations, variables: Answer) -> Answer:
    ops.store.run_by_storage_id(variables["id"]).stop_requested = True
    return done("stopRun", success=True, clientMutationId=None)


@operation("DeleteRun")
def delete_run(ops: Operations, variables: Answer) -> Answer:
    run = ops.store.run_by_storage_id(variables["id"])
    ops.store.delete_run(run, with_artifacts=bool(variables.get("deleteArtifacts")))
    return done("deleteRun", success=True, clientMutationId=None)


@operation("UpdateRunState")
def update_run_state(ops: Operations, variables: Answer) -> Answer:
    ops.store.run_by_storage_id(variables["id"]).state = variables["state"]
    return done("updateRunState", success=True)


@operation("NotifyScriptableRunAlert")
def alert(ops: Operations, variables: Answer) -> Answer:
    ops.run(variables).alerts.append({key: variables.get(key) for key in ("title", "text", "severity")})
    return done("notifyScriptableRunAlert", success=True)


# Runs: reading


def run_file_url(ops: Operations, run: Run, name: str) -> str:
    return ops.link("run-files", run.project.entity, run.project.name, run.id, name)


def project_fields(project: Project) -> Answer:
    organization = {"name": ORGANIZATION} if project.entity == ORGANIZATION_ENTITY else None
    return {
        "__typename": "Project",
        "id": project.id,
        "internalId": project.id,
        "name": project.name,
        "entityName": project.entity,
        "entity": {"id": "RW50aXR5OjE=", "name": project.entity, "organization": organization},
        "description": None,
        "createdAt": project.created_at,
        "updatedAt": project.created_at,
        "access": "PRIVATE",
        "isBenchmark": False,
        "readOnly": False,
        "user": None,
        "allowAllArtifactTypes": True,
        "artifactTypes": connection([]),
    }


def run_fields(run: Run) -> Answer:
    history = run.history
    keys = {key: {"typeCounts": [{"type": "unknown", "count": len(history)}]} for row in history for key in row}
    attributes = run.attributes
    return {
        "__typename": "Run",
        "id": run.storage_id,
        "name": run.id,
        "project": project_fields(run.project),
        "projectId": run.project.number,
        "displayName": run.name,
        "description": attributes.get("description"),
        "notes": attributes.get("notes"),
        "group": attributes.get("groupName"),
        "jobType": attributes.get("jobType"),
        "sweepName": attributes.get("sweep"),
        "tags": attributes.get("tags", []),
        "commit": None,
        "readOnly": False,
        "state": run.state,
        "stopped": run.stop_requested,
        "createdAt": run.created_at,
        "heartbeatAt": run.heartbeat_at,
        "user": {"name": run.project.entity, "username": run.project.entity},
        "config": json.dumps(plain(run.raw_config)),
        "summaryMetrics": json.dumps(plain(run.summary)),
        "systemMetrics": json.dumps({}),
        "historyLineCount": len(history),
        "eventsLineCount": len(run.lines("wandb-events.jsonl")),
        "logLineCount": len(run.console),
        "fileCount": len(run.files),
        "historyKeys": {"keys": keys, "sets": [], "lastStep": max((row["_step"] for row in history), default=-1)},
    }


def project_answer(ops: Operations, variables: Answer, **more: Any) -> Answer:
    return {"project": {**project_fields(ops.project(variables)), **more}}


def run_answer(ops: Operations, variables: Answer, **more: Any) -> Answer:
    run = ops.run(variables)
    return project_answer(ops, variables, run=run and {**run_fields(run), **more})


@operation("IsProjectReadOnly")
def project_settings(ops: Operations, variables: Answer) -> Answer:
    return project_answer(ops, variables)


@operation("GetProject")
def get_project(ops: Operations, variables: Answer) -> Answer:
    return project_answer(ops, {**variables, "project": variables["name"]})


@operation("Run", "RunState", "QueryRunInfo", "RunHistoryKeys")
def get_run(ops: Operations, variables: Answer) -> Answer:
    return run_answer(ops, variables)


@operation("Runs")
def list_runs(ops: Operations, variables: Answer) -> Answer:
    filters = json.loads(variables.get("filters") or "{}")
    found = [run_fields(run) for run in ops.project(variables).runs.values() if matches(run, filters)]
    if (variables.get("order") or "").startswith("-"):
        found.reverse()
    return project_answer(ops, variables, runCount=len(found), runs=connection(found))


def matches(run: Run, filters: Answer) -> bool:
    """Whether a run satisfies the client's filter: equality, ``$in``, ``$ne``, ``$and`` and ``$or``."""
    for key, wanted in filters.items():
        if key in ("$and", "$or"):
            if not (all if key == "$and" else any)(matches(run, inner) for inner in wanted):
                return False
            continue
        values = filtered_values(run, key)
        [(operator, operand)] = wanted.items() if isinstance(wanted, dict) else [("$eq", wanted)]
        held = any(value in operand if operator == "$in" else value == operand for value in values)
        if operator not in ("$eq", "$in", "$ne"):
            raise ValueError(f"filter {operator} is not supported")
        if held == (operator == "$ne"):
            return False
    return True


def filtered_values(run: Run, key: str) -> list[Any]:
    names = {"group": "groupName", "jobType": "jobType", "job_type": "jobType", "sweep": "sweep"}
    if key == "tags":
        return run.attributes.get("tags", [])
    if key.startswith("config."):
        return [run.config.get(key.removeprefix("config.").removesuffix(".value"))]
    if key.startswith("summary_metrics."):
        return [run.summary.get(key.removeprefix("summary_metrics."))]
    if key in names:
        return [run.attributes.get(names[key])]
    return [{"state": run.state, "display_name": run.name, "displayName": run.name, "name": run.id}[key]]


@operation("RunFullHistory")
def full_history(ops: Operations, variables: Answer) -> Answer:
    run = ops.run(variables)
    lines = run and run.lines("wandb-events.jsonl")
    return run_answer(ops, variables, history=run and [json.dumps(plain(row)) for row in run.history], events=lines)


@operation("RunSampledHistory", "SampledHistoryPage")
def sampled_history(ops: Operations, variables: Answer) -> Answer:
    """Only rows that have all keys; an absent range of steps means all of them."""
    run = ops.run(variables)
    answers = []
    for spec in map(json.loads, variables.get("specs") or [variables["spec"]]):
        steps = range(spec.get("minStep") or 0, (spec.get("maxStep") or 2**62) + 1)
        rows = [row for row in run.history if all(key in row for key in spec["keys"])]
        answers.append([{key: plain(row[key]) for key in spec["keys"]} for row in rows if row["_step"] in steps])
    return run_answer(ops, variables, sampledHistory=answers)


@operation("RunParquetHistory")
def parquet_history(ops: Operations, variables: Answer) -> Answer:
    """No parquet files: the client then asks for pages of the live data."""
    live = [{"_step": row["_step"]} for row in ops.run(variables).history]
    return run_answer(ops, variables, parquetHistory={"parquetUrls": [], "liveData": live})


@operation("HistoryPage")
def history_page(ops: Operations, variables: Answer) -> Answer:
    steps = range(variables["minStep"], variables["maxStep"])
    rows = [json.dumps(plain(row)) for row in ops.run(variables).history if row["_step"] in steps]
    return run_answer(ops, variables, history=rows[: variables["pageSize"]])


@operation("RunFiles")
def run_files(ops: Operations, variables: Answer) -> Answer:
    run = ops.run(variables)
    if run is None:
        return run_answer(ops, variables)
    wanted = variables.get("fileNames") or list(run.files)
    if variables.get("pattern"):
        pattern = ".*".join(map(re.escape, variables["pattern"].split("%")))
        wanted = [name for name in run.files if re.fullmatch(pattern, name)]
    files = [file_fields(name, run_file_url(ops, run, name), len(run.files.get(name, b""))) for name in wanted]
    return run_answer(ops, variables, files=connection(files))


def file_fields(name: str, url: str, size: int, digest: str | None = None) -> Answer:
    return {
        "__typename": "File",
        "id": f"file-{name}",
        "name": name,
        "url": url,
        "directUrl": url,
        "sizeBytes": size,
        "storagePath": None,
        "mimetype": None,
        "updatedAt": None,
        "digest": digest,
        "md5": digest,
    }


@operation("RunConsoleLogPage", "RunConsoleLogTail")
def console_lines(ops: Operations, variables: Answer) -> Answer:
    lines = ops.run(variables).console[-(variables.get("last") or 0) :]
    nodes = [{"number": n, "timestamp": now(), "level": None, "label": None, "line": x} for n, x in enumerate(lines)]
    return run_answer(ops, variables, logLines=connection(nodes))


# Artifacts: writing


def alias_names(inputs: list[Answer] | None) -> list[str]:
    return [item["alias"] for item in inputs or []]


@operation("ArtifactType")
def artifact_type(ops: Operations, variables: Answer) -> Answer:
    found = ops.project(variables).collections.get(variables["name"].split(":")[0])
    return project_answer(ops, variables, artifact=found and {"artifactType": {"name": found.type}})


@operation("CreateArtifact")
def create_artifact(ops: Operations, variables: Answer) -> Answer:
    name = variables.get("artifactCollectionName") or variables["artifactCollectionNames"][0]
    project = ops.project(variables)
    collection = ops.store.collection(project, name, "ArtifactSequence", variables["artifactTypeName"])
    latest = collection.latest
    aliases = alias_names(variables.get("aliases"))
    artifact = ops.store.begin(collection, variables["digest"], variables.get("clientID"), aliases)
    if artifact.state == "PENDING":
        artifact.metadata = json.loads(variables.get("metadata") or "{}")
        artifact.description = variables.get("description")
        artifact.tags = [tag["tagName"] for tag in variables.get("tags") or []]
        artifact.ttl_seconds = variables.get("ttlDurationSeconds")
        artifact.history_step = variables.get("historyStep")
        artifact.logged_by = project.runs.get(variables.get("runName"))
    sequence = {"id": collection.id, "latestArtifact": latest and artifact_fields(latest.artifact)}
    return done("createArtifact", artifact={**artifact_fields(artifact), "artifactSequence": sequence})


@operation("CreateArtifactManifest", "UpdateArtifactManifest")
def create_artifact_manifest(ops: Operations, variables: Answer) -> Answer:
    artifact = ops.store.artifact(variables.get("artifactID") or variables["artifactManifestID"])
    file = {"id": artifact.id, "uploadUrl": ops.link("manifests", artifact.id), "uploadHeaders": []}
    return done("createArtifactManifest", artifactManifest={"id": artifact.id, "file": file})


@operation("CreateArtifactFiles")
def create_artifact_files(ops: Operations, variables: Answer) -> Answer:
    """Where to upload each file; nowhere if the server has these bytes."""
    nodes = []
    for file in variables["artifactFiles"]:
        digest = file.get("digest") or file["md5"]
        ops.store.artifact(file["artifactID"]).announced[file["name"]] = digest
        here = digest in ops.store.blobs
        node = {"storagePath": f"wandb_artifacts/{digest}", "uploadHeaders": [f"Content-MD5:{digest}"]}
        node["uploadUrl"] = None if here else ops.link("artifact-files", file["artifactID"], digest)
        node["uploadMultipartUrls"] = None
        node["artifact"] = {"id": ops.store.first_holder[digest] if here else file["artifactID"]}
        nodes.append(node)
    return done("createArtifactFiles", files=connection(nodes))


@operation("CommitArtifact")
def commit_artifact(ops: Operations, variables: Answer) -> Answer:
    artifact = ops.store.artifact(variables["artifactID"])
    ops.store.commit(artifact)
    return done("commitArtifact", artifact=artifact_fields(artifact))


@operation("UpdateArtifact")
def update_artifact(ops: Operations, variables: Answer) -> Answer:
    artifact = ops.store.artifact(variables["artifactID"])
    if variables.get("metadata") is not None:
        artifact.metadata = json.loads(variables["metadata"])
    if variables.get("description") is not None:
        artifact.description = variables["description"]
    if variables.get("ttlDurationSeconds") is not None:
        artifact.ttl_seconds = variables["ttlDurationSeconds"]
    removed = [tag["tagName"] for tag in variables.get("tagsToDelete") or []]
    added = [tag["tagName"] for tag in variables.get("tagsToAdd") or []]
    artifact.tags = [tag for tag in artifact.tags if tag not in removed] + added
    return done("updateArtifact", artifact=artifact_fields(artifact))


@operation("AddAliases")
def add_aliases(ops: Operations, variables: Answer) -> Answer:
    for item in variables["aliases"]:
        version = version_in(ops, item, variables["artifactID"])
        version.collection.move_aliases(version, [item["alias"]])
    return done("addAliases", success=True)


@operation("DeleteAliases")
def delete_aliases(ops: Operations, variables: Answer) -> Answer:
    for item in variables["aliases"]:
        version = version_in(ops, item, variables["artifactID"])
        version.aliases = [alias for alias in version.aliases if alias != item["alias"]]
    return done("deleteAliases", success=True)


def version_in(ops: Operations, where: Answer, artifact_id: str) -> Version:
    """The place of an artifact in the collection that an alias names."""
    collection = ops.project(where).collections.get(where["artifactCollectionName"])
    for version in collection.present if collection else []:
        if version.artifact.id == artifact_id:
            return version
    raise RefusedError(f"{where['artifactCollectionName']} has no artifact {artifact_id}")


@operation("DeleteArtifact")
def delete_artifact(ops: Operations, variables: Answer) -> Answer:
    artifact = ops.store.artifact(variables["artifactID"])
    ops.store.delete(artifact, delete_aliases=bool(variables.get("deleteAliases")))
    return done("deleteArtifact", artifact={"id": artifact.id})


@operation("DeleteArtifactSequence", "DeleteArtifactPortfolio")
def delete_collection(ops: Operations, variables: Answer) -> Answer:
    collection = ops.store.collection_by_id(variables["id"])
    for version in collection.present:
        if collection.kind == "ArtifactSequence":
            ops.store.delete(version.artifact, delete_aliases=True)
        else:
            collection.remove(version)
    del collection.project.collections[collection.name]
    answer = {"artifactCollection": {"__typename": collection.kind, "state": "DELETED"}}
    return {"result": answer, "deleteArtifactSequence": answer, "deleteArtifactPortfolio": answer}


@operation("UseArtifact")
def use_artifact(ops: Operations, variables: Answer) -> Answer:
    artifact = ops.store.artifact(variables["artifactID"])
    run = ops.run(variables)
    if artifact not in run.inputs:
        run.inputs.append(artifact)
    return done("useArtifact", artifact=artifact_fields(artifact))


@operation("LinkArtifact")
def link_artifact(ops: Operations, variables: Answer) -> Answer:
    artifact_id = variables.get("artifactID") or variables.get("artifactId")
    client_id = variables.get("clientID") or variables.get("clientId")
    artifact = ops.store.artifact(artifact_id) if artifact_id else ops.store.by_client_id(client_id)
    if artifact is None or artifact.state != "COMMITTED":
        raise RefusedError("only a committed artifact can be linked")
    aliases = alias_names(variables.get("aliases"))
    version = ops.store.link(artifact, ops.project(variables), variables["artifactPortfolioName"], aliases)
    return done("linkArtifact", versionIndex=version.number, artifactMembership=version_fields(version))


@operation("UnlinkArtifact")
def unlink_artifact(ops: Operations, variables: Answer) -> Answer:
    portfolio = ops.store.collection_by_id(variables["artifactPortfolioID"])
    for version in portfolio.present:
        if version.artifact.id == variables["artifactID"]:
            portfolio.remove(version)
    return done("unlinkArtifact", success=True)


# Artifacts: reading


def alias_fields(version: Version) -> list[Answer]:
    collection = collection_fields(version.collection)
    return [
        {"__typename": "ArtifactAlias", "id": f"{version.id}-{alias}", "alias": alias, "artifactCollection": collection}
        for alias in version.aliases
    ]


def tag_fields(names: list[str]) -> list[Answer]:
    return [{"__typename": "Tag", "id": f"tag-{name}", "name": name} for name in names]


def collection_fields(collection: Collection) -> Answer:
    return {
        "__typename": collection.kind,
        "id": collection.id,
        "name": collection.name,
        "description": collection.description,
        "createdAt": collection.created_at,
        "updatedAt": collection.created_at,
        "project": project_fields(collection.project),
        "type": {"name": collection.type},
        "tags": connection(tag_fields(collection.tags)),
        "digestAlgorithm": "MANIFEST_MD5",
    }


def artifact_fields(artifact: Artifact) -> Answer:
    places = artifact.sequence.store.places(artifact)
    own = next((place for place in places if place.collection is artifact.sequence), None)
    return {
        "__typename": "Artifact",
        "id": artifact.id,
        "artifactSequence": collection_fields(artifact.sequence),
        "versionIndex": own and own.number,
        "artifactType": {"name": artifact.type},
        "description": artifact.description,
        "metadata": json.dumps(artifact.metadata),
        "ttlDurationSeconds": artifact.ttl_seconds or 0,
        "ttlIsInherited": artifact.ttl_seconds is None,
        "tags": tag_fields(artifact.tags),
        "historyStep": artifact.history_step,
        "state": artifact.state,
        "size": artifact.size,
        "digest": artifact.digest,
        "digestAlgorithm": "MANIFEST_MD5",
        "commitHash": None,
        "fileCount": len(artifact.entries),
        "createdAt": artifact.created_at,
        "updatedAt": artifact.created_at,
        "aliases": [fields for place in places for fields in alias_fields(place)],
    }


def version_fields(version: Version) -> Answer:
    return {
        "__typename": "ArtifactCollectionMembership",
        "id": version.id,
        "versionIndex": version.number,
        "createdAt": version.created_at,
        "aliases": alias_fields(version),
        "artifactCollection": collection_fields(version.collection),
        "artifact": artifact_fields(version.artifact),
    }


@operation("ArtifactByID")
def artifact_by_id(ops: Operations, variables: Answer) -> Answer:
    return {"artifact": artifact_fields(ops.store.artifact(variables["id"]))}


@operation("ArtifactMembershipByName")
def version_by_name(ops: Operations, variables: Answer) -> Answer:
    name, _, alias = variables["name"].partition(":")
    collection = ops.project(variables).collections.get(name)
    version = collection and collection.find(alias or "latest")
    return project_answer(ops, variables, artifactCollectionMembership=version and version_fields(version))


@operation("ClientIDMapping")
def client_id_mapping(ops: Operations, variables: Answer) -> Answer:
    artifact = ops.store.by_client_id(variables["clientID"])
    return {"clientIDMapping": artifact and {"serverID": artifact.id}}


@operation("FetchArtifactManifest", "ArtifactManifest")
def artifact_manifest(ops: Operations, variables: Answer) -> Answer:
    artifact = ops.store.artifact(variables.get("id") or variables["artifact_id"])
    return {"artifact": {"currentManifest": {"file": {"directUrl": ops.link("manifests", artifact.id)}}}}


def artifact_file_fields(ops: Operations, artifact: Artifact) -> list[Answer]:
    return [
        file_fields(path, entry.get("ref") or ops.link("blobs", entry["digest"]), entry["size"], entry["digest"])
        for path, entry in artifact.entries.items()
    ]


@operation("GetArtifactMembershipFileUrls", "ArtifactMembershipFiles")
def version_files(ops: Operations, variables: Answer) -> Answer:
    collection = ops.project(variables).collections[variables["collection"]]
    version = collection.find(variables["alias"])
    files = artifact_file_fields(ops, version.artifact) if version else []
    wanted = variables.get("fileNames")
    membership = {"files": connection(file for file in files if not wanted or file["name"] in wanted)}
    fields = {**collection_fields(collection), "artifactMembership": version and membership}
    return project_answer(ops, variables, artifactCollection=fields)


@operation("ArtifactFileURLsByManifestEntries")
def files_by_entries(ops: Operations, variables: Answer) -> Answer:
    wanted = [entry["name"] for entry in variables["entries"]]
    files = artifact_file_fields(ops, ops.store.artifact(variables["id"]))
    return {"artifact": {"filesByManifestEntries": connection(file for file in files if file["name"] in wanted)}}


@operation("ArtifactCreatedBy")
def artifact_created_by(ops: Operations, variables: Answer) -> Answer:
    run = ops.store.artifact(variables["id"]).logged_by
    return {"artifact": {"createdBy": run and run_fields(run)}}


@operation("ArtifactUsedBy")
def artifact_used_by(ops: Operations, variables: Answer) -> Answer:
    artifact = ops.store.artifact(variables["id"])
    users = [run_fields(run) for run in ops.store.runs() if artifact in run.inputs]
    return {"artifact": {"usedBy": connection(users)}}


@operation("FetchLinkedArtifacts")
def linked_artifacts(ops: Operations, variables: Answer) -> Answer:
    places = ops.store.places(ops.store.artifact(variables["artifactID"]))
    return {"artifact": {"artifactMemberships": connection(map(version_fields, places))}}


@operation("RunOutputArtifacts")
def run_outputs(ops: Operations, variables: Answer) -> Answer:
    outputs = ops.store.outputs(ops.run(variables))
    return run_answer(ops, variables, artifacts=connection(map(artifact_fields, outputs)))


@operation("RunInputArtifacts")
def run_inputs(ops: Operations, variables: Answer) -> Answer:
    return run_answer(ops, variables, artifacts=connection(map(artifact_fields, ops.run(variables).inputs)))


@operation("FetchArtifactDigestAlgorithm", "ProjectArtifactType", "ProjectArtifactCollection", "ProjectArtifacts")
def typed_collection(ops: Operations, variables: Answer) -> Answer:
    """A type and, if one is named, a collection of it with its versions, the newest first."""
    type_name = variables.get("type") or variables["artifactTypeName"]
    name = variables.get("collection") or variables.get("name") or variables.get("artifactCollectionName")
    collections = [c for c in ops.project(variables).collections.values() if c.type == type_name]
    named = next((collection for collection in collections if collection.name == name), None)
    fields = None
    if named is not None:
        versions = list(reversed(named.present))
        artifacts = connection(artifact_fields(version.artifact) for version in versions)
        for edge, version in zip(artifacts["edges"], versions, strict=True):
            edge["version"] = f"v{version.number}"
        fields = {**collection_fields(named), "artifacts": artifacts}
    found = {**type_fields(type_name), "artifactCollection": fields}
    return project_answer(ops, variables, artifactType=found if collections else None)


def type_fields(name: str) -> Answer:
    return {"__typename": "ArtifactType", "id": f"type-{name}", "name": name, "description": None, "createdAt": now()}


@operation("ProjectArtifactTypes")
def artifact_types(ops: Operations, variables: Answer) -> Answer:
    names = sorted({collection.type for collection in ops.project(variables).collections.values()})
    return project_answer(ops, variables, artifactTypes=connection(map(type_fields, names)))


@operation("ArtifactTypeArtifactCollections", "ProjectArtifactCollections")
def artifact_collections(ops: Operations, variables: Answer) -> Answer:
    """All collections of a project, or those of a type."""
    wanted = variables.get("type")
    found = [c for c in ops.project(variables).collections.values() if wanted in (None, c.type)]
    collections = connection(map(collection_fields, found))
    of_type = wanted and {**type_fields(wanted), "artifactCollections": collections}
    return project_answer(ops, variables, artifactType=of_type, artifactCollections=collections)


@operation("ArtifactCollectionAliases")
def collection_aliases(ops: Operations, variables: Answer) -> Answer:
    collection = ops.store.collection_by_id(variables["id"])
    aliases = [fields for version in collection.present for fields in alias_fields(version)]
    return {"artifactCollection": {**collection_fields(collection), "aliases": connection(aliases)}}


# Registries: the projects wandb-registry-NAME of the organization


@operation(
    "FetchAdvancedRegistryFeatures",
    "FetchOrganization",
    "FetchRegistries",
    "RegistryCollections",
    "RegistryVersions",
)
def organization(ops: Operations, variables: Answer) -> Answer:
    """The organization with all that its registries hold; the client's filters are not applied."""
    collections = [c for c in ops.store.collections() if c.project.entity == ORGANIZATION_ENTITY]
    registries = [project for project in ops.store.projects.values() if project.entity == ORGANIZATION_ENTITY]
    entity = {
        "__typename": "Entity",
        "id": "RW50aXR5OjI=",
        "name": ORGANIZATION_ENTITY,
        "entityType": "organization",
        "projects": connection(map(project_fields, registries)),
        "artifactCollections": connection(map(collection_fields, collections)),
        "artifactMemberships": connection(version_fields(v) for c in collections for v in c.present),
    }
    features = {"advancedSearch": False}
    fields = {"id": "T3JnOjE=", "name": ORGANIZATION, "orgEntity": entity, "advancedRegistryFeatures": features}
    return {"organization": fields}


@operation("FetchRegistry")
def registry(ops: Operations, variables: Answer) -> Answer:
    found = ops.store.projects.get((variables["entity"], variables["name"]))
    return {"entity": {"project": found and project_fields(found)}}
