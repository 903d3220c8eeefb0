"""Which versions of an artifact stay on the server: those that newer ones have superseded are deleted."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from tf_hfwb.tracking.artifact_names import LATEST
from tf_hfwb.tracking.wandb_server import server_request, versions_of_run

# Aliases that every checkpoint has; any other was given to it on purpose.
_ORDINARY = re.compile(rf"{LATEST}|step-[0-9]+|epoch-[0-9.]+|v[0-9]+")


def delete_superseded(artifact: Any, limit: int, keep: Collection[int] = ()) -> list[str]:
    """Delete the versions of an artifact that newer ones have superseded; only of the run that logged it.

    These stay: the newest ``limit`` versions, those with an alias that somebody gave to them (``best``, the user's
    own), those that are linked to a registry, and those that are not uploaded completely.

    Args:
        artifact: The newest version, which the server has confirmed.
        limit: How many versions to keep.
        keep: Steps whose versions are kept, too.

    Returns:
        The names of the versions that were deleted.

    Raises:
        ServerError: The server could not be asked, or refused.
    """
    name = artifact.source_qualified_name.rpartition(":")[0]
    with server_request(f"Deleting superseded versions of {name}"):
        deleted = []
        for version in versions_of_run(name, artifact.metadata["run_id"])[limit:]:
            if version.metadata.get("global_step") in keep or not _is_superseded(version):
                continue
            version.delete(delete_aliases=True)
            deleted.append(version.name)
    return deleted


def _is_superseded(version: Any) -> bool:
    return (
        all(_ORDINARY.fullmatch(alias) for alias in version.aliases)
        and LATEST not in version.aliases
        and not version.linked_artifacts
    )
