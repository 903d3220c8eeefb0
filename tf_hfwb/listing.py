"""The checkpoints of a directory or of an artifact, on this machine and on W&B side by side."""

from __future__ import annotations

import logging
import os
import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tf_hfwb.checkpoint.pending import wait_for_writers
from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.errors import CheckpointError, NotACheckpointError, ServerError
from tf_hfwb.tracking import journal
from tf_hfwb.tracking.artifacts import runs_folder
from tf_hfwb.tracking.names import ArtifactReference, artifact_name, parse_reference
from tf_hfwb.tracking.server import is_online, versions
from tf_hfwb.training_state import FACTS

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class Listed:
    """One checkpoint, wherever it is.

    Attributes:
        step: The global step.
        epoch: The epoch, with its fraction; None if nobody knows.
        metrics: What was measured at that step.
        size: In bytes.
        aliases: The aliases of the version, or what is known offline.
        path: The directory on this machine; None without one.
        version: The version on W&B, ``entity/project/name:v3``; None without one.
        run_id: The run that wrote it.
    """

    step: int
    epoch: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    size: int | None = None
    aliases: tuple[str, ...] = ()
    path: str | None = None
    version: str | None = None
    run_id: str | None = None


def checkpoints(source: str | os.PathLike[str]) -> list[Listed]:
    """List checkpoints, smallest step first.

    Args:
        source: A directory of checkpoints, or an artifact's name, ``checkpoint-my-run`` or with ``entity/project/``.

    Raises:
        NotACheckpointError: There are none, neither here nor on W&B.
        SettingError: The name is not of that form.
    """
    directory = pathlib.Path(source).expanduser()
    if directory.is_dir():
        stored = _with_facts(Store(directory).checkpoints())
        names = dict.fromkeys(filter(None, (_reference(facts) for _, facts in stored)))
    else:
        wanted = parse_reference(os.fspath(source))
        wait_for_writers()
        known = [entry for entry in journal.entries(runs_folder()) if entry.name == wanted.name]
        paths = dict.fromkeys(entry.path for entry in known if journal.is_there(entry))
        stored = _with_facts(sorted(_opened(paths), key=lambda checkpoint: checkpoint.step or 0))
        names = {wanted: None}
    found = _merged(_described(stored), [version for name in names for version in _on_server(name)])
    if not found:
        raise NotACheckpointError(
            f"There is no checkpoint in or under {os.fspath(source)!r}. Expected a directory with checkpoint-STEP in "
            "it, or the name of a checkpoint artifact, such as checkpoint-my-run."
        )
    return found


def _opened(paths: Iterable[str]) -> Iterable[Checkpoint]:
    for path in paths:
        try:
            yield Checkpoint.open(path)
        except CheckpointError as error:
            _logger.warning("%s", error)


def _with_facts(found: Iterable[Checkpoint]) -> list[tuple[Checkpoint, dict[str, Any]]]:
    return [(checkpoint, checkpoint.read_json(FACTS)) for checkpoint in found]


def _reference(facts: Mapping[str, Any]) -> ArtifactReference | None:
    """The artifact as which the checkpoint's run logs it."""
    run = facts.get("run") or {}
    if not run.get("id"):
        return None
    name = artifact_name("checkpoint", run.get("name"), run["id"])
    return ArtifactReference(run.get("entity"), run.get("project"), name)


def _described(stored: Iterable[tuple[Checkpoint, Mapping[str, Any]]]) -> list[Listed]:
    described, best = [], {}
    for checkpoint, facts in stored:
        run_id = (facts.get("run") or {}).get("id")
        best[run_id] = facts.get("best_step")  # As the newest one says.
        described.append(
            Listed(
                step=int(facts["global_step"]),
                epoch=facts["epoch"],
                metrics=facts["metrics"],
                size=sum(entry.size for entry in checkpoint.files.values()),
                path=os.path.abspath(checkpoint.path),
                run_id=run_id,
            )
        )
    return [replace(one, aliases=("best",)) if best[one.run_id] == one.step else one for one in described]


def _on_server(reference: ArtifactReference) -> list[Listed]:
    if not is_online():
        return []
    try:
        return [_of_version(version) for version in versions(reference) if "global_step" in version.metadata]
    except ServerError as error:
        _logger.warning("Only what is on this machine is listed. %s", error)
        return []


def _of_version(version: Any) -> Listed:
    known = version.metadata
    return Listed(
        step=int(known["global_step"]),
        epoch=known.get("epoch"),
        metrics={name: value for name, value in known.items() if "/" in name},
        size=version.size,
        aliases=tuple(version.aliases),
        version=f"{version.entity}/{version.project}/{version.name.split(':')[0]}:{version.version}",
        run_id=known.get("run_id"),
    )


def _merged(here: Iterable[Listed], there: Iterable[Listed]) -> list[Listed]:
    """Each checkpoint once; the aliases of one that is on W&B are those that it has there."""
    found = {(one.run_id, one.step): one for one in there}
    for one in here:
        same = found.get((one.run_id, one.step))
        found[one.run_id, one.step] = one if same is None else replace(one, aliases=same.aliases, version=same.version)
    return sorted(found.values(), key=lambda one: (one.step, one.run_id or ""))
