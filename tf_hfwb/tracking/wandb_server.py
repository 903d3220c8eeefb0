"""Questions to the W&B server: artifacts by name, their versions, and which run used which.

Every call goes over the network, through the client's public API. :func:`is_online` tells whether to try.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from tf_hfwb.errors import ArtifactNotFoundError, ServerError, TFHFWBError
from tf_hfwb.secret_masking import cause
from tf_hfwb.settings import Settings
from tf_hfwb.tracking.artifact_names import ArtifactReference, parse_reference
from tf_hfwb.tracking.credentials import has_credentials
from tf_hfwb.tracking.process_tracker import current_tracker

MODEL_TYPE = "model"  # Of artifacts.

_used: list[Any] = []  # Artifacts whose use no run has recorded yet.


def is_online() -> bool:
    """Whether the server may be asked: the run that is open is online, or without one, a run would be."""
    import wandb

    if wandb.run is not None:
        return not (wandb.run.disabled or wandb.run.offline)
    settings = wandb.setup().settings
    return bool(settings.mode in ("online", "shared") and has_credentials())


@contextlib.contextmanager
def server_request(what: str) -> Iterator[None]:
    """Turn whatever fails in the block, which asks the server, into one error that says what was tried.

    Raises:
        ServerError: The server could not be asked, or did not answer.
    """
    import wandb

    try:
        yield
    except TFHFWBError:
        raise
    except Exception as error:  # Of the client, requests, or what else lies between.
        reason = f"{type(error).__name__}: {error}".rstrip(".")
        raise ServerError(
            f"{what} failed: {reason}. Expected an answer of {wandb.setup().settings.base_url}. "
            "Check the network and the key (wandb login), or work with what is on disk: WANDB_MODE=offline."
        ) from cause(error)


def full_reference(reference: ArtifactReference | str) -> ArtifactReference:
    """``reference`` with its entity and project: the open run's, else those of the settings."""
    import wandb

    wanted = parse_reference(reference) if isinstance(reference, str) else reference
    run = wandb.run
    project = wanted.project or (run.project if run is not None else None) or Settings.resolve().project
    entity = wanted.entity or (run.entity if run is not None else None) or wandb.setup().settings.entity
    if not entity:
        with server_request("Looking up your entity"):
            entity = wandb.Api().default_entity
    return ArtifactReference(entity, project, wanted.name, wanted.alias)


def find(reference: ArtifactReference | str) -> Any:
    """The client's artifact of that name.

    Raises:
        ArtifactNotFoundError: The server has none of that name or alias.
        ServerError: The server could not be asked.
    """
    import wandb

    full = full_reference(reference)
    with server_request(f"Looking for {str(full)!r}"):
        public = wandb.Api()
        try:
            return public.artifact(str(full))
        except (wandb.errors.CommError, ValueError) as error:
            known = [f"{full.name}:{alias}" for one in versions(full) for alias in (*one.aliases, one.version)]
            raise ArtifactNotFoundError(
                str(full),
                f"W&B has no artifact {str(full)!r}. Expected one that exists: {', '.join(known) or 'none does'}. "
                f"Pass one of them, or a checkpoint's directory.",
                known,
            ) from cause(error)


def versions(reference: ArtifactReference | str) -> list[Any]:
    """The versions of an artifact on the server, newest first; none when there is no such artifact.

    Raises:
        ServerError: The server could not be asked.
    """
    import wandb

    full = full_reference(reference)
    path = f"{full.entity}/{full.project}/{full.name}"
    with server_request(f"Listing {path}"):
        public = wandb.Api()
        if not public.artifact_collection_exists(path, type=MODEL_TYPE):
            return []
        return list(public.artifacts(MODEL_TYPE, path))


def versions_of_run(reference: ArtifactReference | str, run_id: str | None) -> list[Any]:
    """Those :func:`versions` that are uploaded completely, and by that run; by any, for None.

    Raises:
        ServerError: The server could not be asked.
    """
    whole = [version for version in versions(reference) if version.state == "COMMITTED"]
    return [version for version in whole if run_id in (None, version.metadata.get("run_id"))]


def record_use(artifact: Any) -> None:
    """Record in the background that the run uses the artifact; now, or when the next run is opened."""
    _used.append(artifact)
    tracker = current_tracker()
    if tracker.active:
        record_pending_uses(tracker)


def record_pending_uses(tracker: Any) -> None:
    """Record the artifacts that were used before the run was open."""
    used = _used[:]
    _used.clear()
    if tracker.is_offline or tracker.directory is None:
        return  # The client cannot, offline.
    for artifact in used:
        tracker.submit_slow(f"Recording the use of {artifact.qualified_name}", tracker.run.use_artifact, artifact)


def cache_folder() -> str:
    """The folder for downloads, below the client's own cache (``WANDB_CACHE_DIR``)."""
    import wandb

    return os.path.join(str(wandb.env.get_cache_dir()), "tf_hfwb")
