"""The checkpoints of a directory or of an artifact, on this machine and on W&B side by side."""

from __future__ import annotations

import logging
import math
import os
import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tf_hfwb.checkpoint.pending_writes import wait_for_writers
from tf_hfwb.checkpoint.step_names import step_of
from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.errors import CheckpointError, NotACheckpointError, ServerError
from tf_hfwb.json_text import number_of
from tf_hfwb.keras_compat import LORA, LoRADescription
from tf_hfwb.resume.trainer_state import TrainerState
from tf_hfwb.tracking import artifact_journal
from tf_hfwb.tracking.artifact_lookup import runs_folder
from tf_hfwb.tracking.artifact_names import ArtifactReference, artifact_name, parse_reference
from tf_hfwb.tracking.run_history import is_rate
from tf_hfwb.tracking.wandb_server import is_online, versions

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class Listed:
    """One checkpoint, wherever it is.

    Attributes:
        step: The global step.
        epoch: The epoch, with its fraction; None if it is not known.
        metrics: What was measured at that step, without runtimes and rates.
        size: In bytes.
        aliases: The aliases of the version; offline, what is known of them.
        path: The directory on this machine; None without one.
        version: The version on W&B, ``entity/project/name:v3``; None without one.
        run_id: The run that wrote it.
        base: The directory or artifact without which it cannot be loaded, that of a LoRA training's base; else None.
        damage: Why the directory on this machine cannot be used; None if nothing was found to be wrong with it.
    """

    step: int
    epoch: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    size: int | None = None
    aliases: tuple[str, ...] = ()
    path: str | None = None
    version: str | None = None
    run_id: str | None = None
    base: str | None = None
    damage: str | None = None


def checkpoints(source: str | os.PathLike[str]) -> list[Listed]:
    """List checkpoints, smallest step first.

    Args:
        source: A directory of checkpoints, or an artifact's name, ``checkpoint-my-run`` or with ``entity/project/``.

    Raises:
        NotACheckpointError: There are none, neither on this machine nor on W&B.
        SettingError: The name is not of that form.
    """
    directory = pathlib.Path(source).expanduser()
    if directory.is_dir():
        found, rejected = Store(directory).list_all()
        states, damaged = _read(found)
        damaged += [_list_damaged(one.path, one.reason) for one in rejected]
        names = dict.fromkeys(filter(None, (_reference(state.run) for _, state, _ in states)))
    else:
        wanted = parse_reference(os.fspath(source))
        wait_for_writers()
        known = [entry for entry in artifact_journal.entries(runs_folder()) if entry.name == wanted.name]
        paths = dict.fromkeys(entry.path for entry in known if artifact_journal.is_there(entry))
        found, unopened = _open(paths)
        states, damaged = _read(sorted(found, key=lambda checkpoint: checkpoint.step or 0))
        damaged += unopened
        names = {wanted: None}
    listed = _merge(_list_readable(states), [version for name in names for version in _on_server(name)])
    if not listed and not damaged:
        raise NotACheckpointError(
            f"There is no checkpoint in or under {os.fspath(source)!r}. Expected a directory with checkpoint-STEP in "
            "it, or the name of a checkpoint artifact, such as checkpoint-my-run."
        )
    return sorted([*listed, *damaged], key=lambda one: (one.step, one.run_id or ""))


def _open(paths: Iterable[str]) -> tuple[list[Checkpoint], list[Listed]]:
    found, damaged = [], []
    for path in paths:
        try:
            found.append(Checkpoint.open(path))
        except CheckpointError as error:
            damaged.append(_list_damaged(pathlib.Path(path), str(error)))
    return found, damaged


_Read = tuple[Checkpoint, TrainerState, str | None]  # The name of the base comes last.


def _read(found: Iterable[Checkpoint]) -> tuple[list[_Read], list[Listed]]:
    states, damaged = [], []
    for checkpoint in found:
        try:
            base = LoRADescription.read(checkpoint).base_name if LORA in checkpoint.files else None
            states.append((checkpoint, TrainerState.read(checkpoint), base))
        except NotACheckpointError:  # A training that saves there has removed it.
            continue
        except CheckpointError as error:
            damaged.append(_list_damaged(checkpoint.path, str(error)))
    return states, damaged


def _list_damaged(path: pathlib.Path, reason: str) -> Listed:
    return Listed(step=step_of(path) or 0, path=os.path.abspath(path), damage=reason)


def _reference(run: Mapping[str, str]) -> ArtifactReference | None:
    """The artifact under which the checkpoint's run logs its checkpoints."""
    if not run.get("id"):
        return None
    name = artifact_name("checkpoint", run.get("name"), run["id"])
    return ArtifactReference(run.get("entity"), run.get("project"), name)


def _list_readable(states: Iterable[_Read]) -> list[Listed]:
    described, best = [], {}
    for checkpoint, state, base in states:
        run_id = state.run.get("id")
        best[run_id] = state.best_step  # The newest checkpoint of a run counts.
        described.append(
            Listed(
                step=state.global_step,
                epoch=state.epoch,
                metrics=_without_rates(state.metrics),
                size=sum(entry.size for entry in checkpoint.files.values()),
                path=os.path.abspath(checkpoint.path),
                run_id=run_id,
                base=base,
            )
        )
    return [replace(one, aliases=("best",)) if best[one.run_id] == one.step else one for one in described]


def _without_rates(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not is_rate(name)}


def _on_server(reference: ArtifactReference) -> list[Listed]:
    if not is_online():
        return []
    try:
        found = [_list_version(version) for version in versions(reference)]
    except ServerError as error:
        _logger.warning("Only what is on this machine is listed. %s", error)
        return []
    return [one for one in found if one is not None]


def _list_version(version: Any) -> Listed | None:
    """The listing of a version on W&B; None if this package did not write it as a checkpoint."""
    known = {name: number_of(value) for name, value in version.metadata.items()}
    step = known.get("global_step")
    if step is None or not math.isfinite(step):
        return None
    run_id, base = version.metadata.get("run_id"), version.metadata.get("base")
    return Listed(
        step=int(step),
        epoch=known.get("epoch"),
        metrics=_without_rates({name: value for name, value in known.items() if "/" in name and value is not None}),
        size=version.size,
        aliases=tuple(version.aliases),
        version=f"{version.entity}/{version.project}/{version.name.split(':')[0]}:{version.version}",
        run_id=run_id if isinstance(run_id, str) else None,
        base=base if isinstance(base, str) else None,
    )


def _merge(here: Iterable[Listed], there: Iterable[Listed]) -> list[Listed]:
    """List each checkpoint once; one that is on W&B has its aliases from there."""
    found = {(one.run_id, one.step): one for one in there}
    for one in here:
        same = found.get((one.run_id, one.step))
        found[one.run_id, one.step] = one if same is None else replace(one, aliases=same.aliases, version=same.version)
    return list(found.values())
