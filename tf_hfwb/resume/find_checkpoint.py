"""Which checkpoint or model a source means: a directory, the name of an artifact, or True for the run's own."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import pathlib
from collections.abc import Iterable

from tf_hfwb.checkpoint.manifest import MANIFEST
from tf_hfwb.checkpoint.pending_writes import wait_for_writers
from tf_hfwb.checkpoint.step_names import step_of
from tf_hfwb.checkpoint.store import Checkpoint, Rejected, Store
from tf_hfwb.errors import ArtifactNotFoundError, CheckpointError, NotACheckpointError, ServerError, SettingError
from tf_hfwb.resume.trainer_state import FACTS, TrainerState
from tf_hfwb.tracking.artifact_lookup import directory_of, own_directory
from tf_hfwb.tracking.artifact_names import looks_like_own_name, looks_like_reference

_logger = logging.getLogger("tf_hfwb")


def find_checkpoint(
    source: str | os.PathLike[str] | bool,
    *,
    output_dir: str | os.PathLike[str] | None = None,
    run_name: str | None = None,
    is_tracked: bool = True,
) -> Checkpoint | None:
    """Find and verify the checkpoint that ``source`` of :func:`~tf_hfwb.restore` means; None for a fresh start.

    Args:
        source: See :func:`~tf_hfwb.restore`.
        output_dir: See :func:`~tf_hfwb.restore`.
        run_name: The run's name, for True.
        is_tracked: Whether the server may be asked for the run's own checkpoint, for True.
    """
    if source is not True:
        if source is False or not isinstance(source, (str, os.PathLike)):
            raise SettingError("source", source, expected="True, a directory, or the name of an artifact")
        return _named_checkpoint(source)
    if output_dir is None:
        raise SettingError("output_dir", None, expected="the directory of the checkpoints, with source=True")
    newest, rejected = _newest_undamaged(pathlib.Path(output_dir))
    if newest is not None:
        return newest
    own = own_directory(run_name) if is_tracked else None
    if rejected:
        _logger.warning("Instead %s.", "a fresh start is made" if own is None else f"{own} is used")
    return None if own is None else _named_checkpoint(own)


def _named_checkpoint(source: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint of that path or name, or the newest undamaged one in that directory.

    Raises:
        NotACheckpointError: There is none.
        CorruptCheckpointError: It is damaged.
    """
    path = find_local_path(source)
    if path.is_dir() and not (path / MANIFEST).exists():
        newest, rejected = _newest_undamaged(path)
        if newest is not None:
            return newest
        if rejected:
            _logger.warning("Instead nothing is used.")
    checkpoint = Checkpoint.open(path)
    checkpoint.verify()
    if FACTS not in checkpoint.files:
        raise NotACheckpointError(
            errno.ENOENT,
            f"{source} is a model without the state of a training ({FACTS}). Expected a checkpoint, such as "
            f"'checkpoint-my-run:latest' or 'out/checkpoint-500'. Name one, or take the model for use with load_model.",
        )
    return checkpoint


def find_local_path(source: str | os.PathLike[str]) -> pathlib.Path:
    """The path itself, or where the artifact of that name lies on this machine, downloaded if need be.

    Raises:
        ArtifactNotFoundError: There is no artifact of that name.
        ServerError: W&B cannot be asked for it, and it was not logged on this machine.
    """
    wait_for_writers()
    path = pathlib.Path(source).expanduser()
    if not path.exists() and isinstance(source, str):
        if looks_like_reference(source):
            return pathlib.Path(directory_of(source))
        if looks_like_own_name(source):
            with contextlib.suppress(ArtifactNotFoundError, ServerError):  # Then it was meant as a path.
                return pathlib.Path(directory_of(source))
    return path


def _newest_undamaged(directory: pathlib.Path) -> tuple[Checkpoint | None, list[Rejected]]:
    """The newest checkpoint that is whole, and those that were rejected for it, each with a warning."""
    checkpoint, rejected = Store(directory).newest_good()
    for one in rejected:
        _logger.warning("%s is not used: %s", one.path, one.reason)
    if rejected and checkpoint is not None:
        _logger.warning("Instead %s is used.", checkpoint.path)
        _warn_of_another_training(checkpoint, rejected)
    return checkpoint, rejected


def newest_resumable(directory: str | os.PathLike[str]) -> Checkpoint | None:
    """The newest checkpoint of a directory from which a training can resume; None without one."""
    for checkpoint in reversed(Store(directory).checkpoints()):
        try:
            checkpoint.verify()
            TrainerState.read(checkpoint).check_resumable(checkpoint.path)
        except CheckpointError as error:
            _logger.debug("%s is not used: %s", checkpoint.path, error)
        else:
            return checkpoint
    return None


def _warn_of_another_training(checkpoint: Checkpoint, rejected: Iterable[Rejected]) -> None:
    """Warn when the rejected ones may be of another training, the one that was meant."""
    run_id = _run_id_of(checkpoint)
    signs = []
    for one in rejected:
        other_id = _run_id_of(one)
        if run_id is not None and other_id is not None and run_id != other_id:
            signs.append(f"{one.path} is of the run {other_id}, and {checkpoint.path} of {run_id}")
        elif (step_of(one.path) or 0) < (checkpoint.step or 0):
            when = "may have been" if one.sequence is None else "was"
            signs.append(f"{one.path} {when} saved after {checkpoint.path}, though its step is smaller")
    if signs:
        _logger.warning(
            "Another training may go on than the one that saved last: %s. Expected its newest checkpoint to be whole. "
            "If %s is not the one that is meant, stop here: put back a whole copy of the newest one, name the "
            "checkpoint to go on from, or begin anew in another directory.",
            "; ".join(signs),
            checkpoint.path,
        )


def _run_id_of(found: Checkpoint | Rejected) -> str | None:
    """The id of the W&B run that wrote a checkpoint; None where that cannot be read."""
    try:
        run_id = Checkpoint.read_manifest(found.path).read_json(FACTS)["run"]["id"]
    except (CheckpointError, KeyError, TypeError):
        return None
    return run_id if isinstance(run_id, str) else None
