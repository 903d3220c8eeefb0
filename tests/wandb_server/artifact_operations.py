"""GraphQL operations about artifacts, their collections, and registries."""

from __future__ import annotations

import json

from .graphql import (
    ORGANIZATION,
    ORGANIZATION_ENTITY,
    Answer,
    Operations,
    connection,
    done,
    file_fields,
    operation,
    project_answer,
    project_fields,
)
from .run_operations import run_answer, run_fields
from .state import Artifact, Collection, RefusedError, Version, now

# Writing


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


@operation("CreateArtifactManifest")
def create_artifact_manifest(ops: Operations, variables: Answer) -> Answer:
    artifact = ops.store.artifact(variables["artifactID"])
    artifact.is_incremental = variables["manifestType"] == "INCREMENTAL"
    return done("createArtifactManifest", artifactManifest=manifest_fields(ops, artifact))


@operation("UpdateArtifactManifest")
def update_artifact_manifest(ops: Operations, variables: Answer) -> Answer:
    """Where to upload a manifest that was announced before its files."""
    artifact = ops.store.artifact(variables["artifactManifestID"])
    return done("updateArtifactManifest", artifactManifest=manifest_fields(ops, artifact))


def manifest_fields(ops: Operations, artifact: Artifact) -> Answer:
    file = {"id": artifact.id, "uploadUrl": ops.link("manifests", artifact.id), "uploadHeaders": []}
    return {"id": artifact.id, "file": file}


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


# Reading


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


@operation("FetchArtifactManifest")
def artifact_manifest(ops: Operations, variables: Answer) -> Answer:
    artifact = ops.store.artifact(variables["id"])
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


@operation("ProjectArtifactType", "ProjectArtifactCollection", "ProjectArtifacts")
def typed_collection(ops: Operations, variables: Answer) -> Answer:
    """A type and, if one is named, a collection of it with its versions, the newest first."""
    type_name, name = variables["type"], variables.get("collection") or variables.get("name")
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


@operation("ArtifactTypeArtifactCollections")
def collections_of_type(ops: Operations, variables: Answer) -> Answer:
    found = [c for c in ops.project(variables).collections.values() if c.type == variables["type"]]
    collections = connection(map(collection_fields, found))
    return project_answer(
        ops, variables, artifactType={**type_fields(variables["type"]), "artifactCollections": collections}
    )


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
