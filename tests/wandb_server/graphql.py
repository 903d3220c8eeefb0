"""The table of GraphQL operations, what their functions share, and the operations about accounts and projects.

Each operation that the client sends is a function; those of runs and of artifacts are in modules of their own. There
is no schema: an answer is a dictionary that holds at least what the client selects, under both the field's name
and the alias ``result`` that some documents use.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from .state import Project, Run, Store

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


def project_answer(ops: Operations, variables: Answer, **more: Any) -> Answer:
    return {"project": {**project_fields(ops.project(variables)), **more}}


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


# Accounts and projects


@operation("Viewer", "GetViewer", "GetDefaultEntity")
def viewer(ops: Operations, _: Answer) -> Answer:
    user = {"id": "VXNlcjox", "entity": ops.entity, "name": ops.entity, "username": ops.entity, "admin": False}
    more = {"email": "tests@example.com", "flags": "{}", "teams": connection([]), "apiKeys": connection([])}
    return {"viewer": {**user, **more, "deletedAt": None}}


@operation("ServerFeaturesQuery")
def server_features(_: Operations, __: Answer) -> Answer:
    return {"serverInfo": {"features": [{"name": name, "isEnabled": True} for name in FEATURES]}}


@operation("OrganizationCoreWeaveOrganizationID")
def coreweave_organization(_: Operations, __: Answer) -> Answer:
    return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}


@operation("FetchOrgInfoFromEntity")
def organization_of_entity(_: Operations, __: Answer) -> Answer:
    organization = {"name": ORGANIZATION, "orgEntity": {"name": ORGANIZATION_ENTITY}}
    return {"entity": {"organization": organization, "user": {"organizations": [organization]}}}


@operation("IsProjectReadOnly")
def project_settings(ops: Operations, variables: Answer) -> Answer:
    return project_answer(ops, variables)
