"""Versions of artifacts in the model registry, and versions that nobody needs any more."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Collection, Sequence
from typing import Any

from tf_hfwb.errors import ServerError, SettingError
from tf_hfwb.messages import inform
from tf_hfwb.tracking.artifact_names import LATEST
from tf_hfwb.tracking.tracker import current_tracker
from tf_hfwb.tracking.wandb_server import asking, find, is_online, versions_of_run

_logger = logging.getLogger("tf_hfwb")

REGISTRY = "wandb-registry-model"
# Aliases that every checkpoint has; any other was given to it on purpose.
_ORDINARY = re.compile(rf"{LATEST}|step-[0-9]+|epoch-[0-9.]+|v[0-9]+")


def link_to_registry(artifact: Any, collection: str, aliases: Sequence[str] = ()) -> str:
    """Put a version of an artifact into a collection of the model registry; nothing is copied.

    A version that this process is still uploading is waited for.

    Args:
        artifact: Its name, such as ``"model-my-run:final"``, with ``project/`` or ``entity/project/`` in front if need
            be; or an artifact of the client.
        collection: The collection, made if it is not there: ``"NAME"`` in the registry "model", or with its registry
            ``"wandb-registry-REGISTRY/NAME"``.
        aliases: Aliases of the version in the collection, such as ``"production"``, besides ``latest``.

    Returns:
        The version's name in the registry, ``entity/wandb-registry-model/collection:v0``.

    Raises:
        ArtifactNotFoundError: The server has no such artifact.
        ServerError: The run is offline, or the server could not be asked, or refused.
        SettingError: The artifact's or the collection's name is not of that form.

    Example:
        >>> # link_to_registry("model-my-run:final", "sentiment", aliases=["production"])

    Follows ``wandb.Artifact.link``.
    """
    target = registry_path(collection)
    if not is_online():
        raise ServerError(
            f"{artifact} cannot be linked to {target} offline: the registry is on the server. Expected an online run. "
            "Sync the run first (tf-hfwb sync DIRECTORY), then call: "
            f"{shlex.join(['tf-hfwb', 'link', str(artifact), collection])}"
        )
    if isinstance(artifact, str):
        name = artifact.rpartition("/")[2].partition(":")[0]
        for upload in current_tracker().uploads.pending(name):
            with asking(f"Waiting for the upload of {name}"):
                upload.artifact.wait()
        artifact = find(artifact)
    with asking(f"Linking {artifact.qualified_name} to {target}"):
        linked = artifact.link(target, list(aliases))
    return target if linked is None else str(linked.qualified_name)


def link_logged(artifact: Any, name: str, collection: str) -> None:
    """Put what was just logged into a collection, and say where it is; for ``then`` of ``log_directory``.

    Args:
        artifact: The client's artifact; None when it is not on the server, which is said.
        name: Its name with an alias, for what to do about that.
        collection: As in :func:`link_to_registry`.
    """
    if artifact is None:
        _logger.warning(
            "%s was not put into %s: that needs an online run. When it is on W&B, call: %s",
            name,
            collection,
            shlex.join(["tf-hfwb", "link", name, collection]),
        )
    else:
        inform("%s is in the registry: %s", name, link_to_registry(artifact, collection))


def registry_path(collection: str) -> str:
    """The path that W&B wants for a collection.

    Example:
        >>> registry_path("sentiment")
        'wandb-registry-model/sentiment'

    Raises:
        SettingError: The name is empty or has characters that W&B does not take.
    """
    if not re.fullmatch(r"(?:(?:[^/:\s]+/)?[^/:\s]+/)?[A-Za-z0-9_.-][A-Za-z0-9_. -]{0,127}", collection):
        raise SettingError(
            "collection",
            collection,
            expected="the name of a registry's collection, 'NAME' or 'wandb-registry-REGISTRY/NAME'",
        )
    return collection if "/" in collection else f"{REGISTRY}/{collection}"


def delete_superseded(artifact: Any, limit: int, keep: Collection[int] = ()) -> list[str]:
    """Delete the versions of an artifact that newer ones have superseded; only of the run that logged it.

    Those stay: the newest ``limit`` versions, what has an alias that somebody gave to it (``best``, the user's own),
    what is linked to a registry, and what is not uploaded completely.

    Args:
        artifact: The newest version, which the server has confirmed.
        limit: How many versions to keep.
        keep: Steps whose versions are kept, too.

    Returns:
        The names of the versions that are gone.

    Raises:
        ServerError: The server could not be asked, or refused.
    """
    name = artifact.source_qualified_name.rpartition(":")[0]
    with asking(f"Deleting superseded versions of {name}"):
        gone = []
        for version in versions_of_run(name, artifact.metadata["run_id"])[limit:]:
            if version.metadata.get("global_step") in keep or not _is_superseded(version):
                continue
            version.delete(delete_aliases=True)
            gone.append(version.name)
    return gone


def _is_superseded(version: Any) -> bool:
    return (
        all(_ORDINARY.fullmatch(alias) for alias in version.aliases)
        and LATEST not in version.aliases
        and not version.linked_artifacts
    )
