"""Versions of artifacts in the model registry."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Sequence
from typing import Any

from tf_hfwb.errors import ServerError, SettingError
from tf_hfwb.messages import inform
from tf_hfwb.tracking.process_tracker import current_tracker
from tf_hfwb.tracking.wandb_server import find, is_online, server_request

_logger = logging.getLogger("tf_hfwb")

REGISTRY = "wandb-registry-model"


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

    It follows ``wandb.Artifact.link``. For example, ``link_to_registry("model-my-run:final", "sentiment")``.
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
            with server_request(f"Waiting for the upload of {name}"):
                upload.artifact.wait()
        artifact = find(artifact)
    with server_request(f"Linking {artifact.qualified_name} to {target}"):
        linked = artifact.link(target, list(aliases))
    return target if linked is None else str(linked.qualified_name)


def link_logged(artifact: Any, name: str, collection: str) -> None:
    """Put an artifact that was just logged into a collection, and say where it is; for ``then`` of ``log_directory``.

    Args:
        artifact: The client's artifact; None when it is not on the server, which is reported.
        name: Its name with an alias, for the report.
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
