"""Artifacts by name: the directory on this machine that holds one, downloaded if need be."""

from __future__ import annotations

import logging
import os

from tf_hfwb.errors import ArtifactNotFoundError, ServerError
from tf_hfwb.tracking import artifact_journal
from tf_hfwb.tracking.artifact_downloads import fetch
from tf_hfwb.tracking.artifact_names import ArtifactReference, artifact_name, parse_reference
from tf_hfwb.tracking.wandb_server import find, is_online, record_use, versions_of_run

_logger = logging.getLogger("tf_hfwb")


def directory_of(reference: ArtifactReference | str) -> str:
    """The directory on this machine that holds an artifact.

    Online that is the server's artifact, downloaded unless it is here already, and the run records that it uses it.
    Offline, or when the server cannot be asked or does not have it, the directory that was logged on this machine.

    Raises:
        ArtifactNotFoundError: There is no such name or alias, or its directory has gone.
        ServerError: The server could not be asked, and nothing of that name was logged here.
        SettingError: The reference is not of the form ``entity/project/name:alias``.
    """
    wanted = parse_reference(reference) if isinstance(reference, str) else reference
    if not is_online():
        return artifact_journal.resolve(wanted, runs_folder())
    try:
        artifact = find(wanted)
        path = fetch(artifact, runs_folder())
    except (ServerError, ArtifactNotFoundError) as error:
        try:
            here = artifact_journal.resolve(wanted, runs_folder())
        except ArtifactNotFoundError:
            raise error from None
        _logger.warning("%s What was logged on this machine is used: %s", error, here)
        return here
    record_use(artifact)
    return os.fspath(path)


def own_directory(run_name: str | None = None) -> str | None:
    """The newest checkpoint that the run has on the server, on this machine; None without one, and offline.

    The run is the open one, else the one that ``run_name``, ``WANDB_RUN_ID`` and ``WANDB_NAME`` name. A failure of the
    server is reported, and counts as none.
    """
    import wandb

    if not is_online():
        return None
    run = wandb.run
    if run is None:
        settings = wandb.setup().settings
        run_id, current_name = settings.run_id, settings.run_name
    else:
        run_id, current_name = run.id, run.name
    names = []
    if run_name or current_name:
        names.append(artifact_name("checkpoint", run_name or current_name, run_id or ""))
    if run_id:
        names.append(artifact_name("checkpoint", None, run_id))
    try:
        for name in names:
            for version in versions_of_run(name, run_id)[:1]:
                path = fetch(version, runs_folder())
                record_use(version)
                return os.fspath(path)
    except ServerError as error:
        _logger.warning("Whether the run has a checkpoint on W&B is not known. %s", error)
    return None


def runs_folder() -> str:
    """The folder in which the client puts its runs: the active run's, else where its settings say."""
    import wandb

    if wandb.run is not None and not wandb.run.disabled:
        return os.path.dirname(os.path.dirname(wandb.run.dir))
    return str(wandb.setup().settings.wandb_dir)
