"""The artifacts of a training: its checkpoints and the model at its end, and whose files the client still needs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.settings import LogModel
from tf_hfwb.tracking import Tracker
from tf_hfwb.tracking.artifact_logging import log_directory
from tf_hfwb.tracking.artifact_names import artifact_name
from tf_hfwb.tracking.registry import link_logged
from tf_hfwb.tracking.retention import delete_superseded
from tf_hfwb.tracking.sync import artifacts_logged_online, upload_missing

Kind = Literal["checkpoint", "model"]


class ModelArtifacts:
    """Logs directories that are written as artifacts of the run.

    Args:
        log_model: What is wanted of them.
        name: Their name without ``checkpoint-`` and ``model-``; else the run's name, else its id.
        registry: The collection into which the model at the end is put, as W&B spells it; None for none.
        superseded_limit: How many versions of the checkpoint artifact stay on the server; None leaves all.

    Attributes:
        uploading: The steps of the checkpoints whose files the client still needs.
    """

    def __init__(
        self, log_model: LogModel, name: str | None, registry: str | None, superseded_limit: int | None
    ) -> None:
        self._log_model = log_model
        self._name = name
        self._registry = registry
        self._superseded_limit = superseded_limit
        self.uploading: set[int] = set()

    @property
    def are_wanted(self) -> bool:
        """Whether anything is to be logged, at the end at the latest."""
        return self._log_model is not LogModel.FALSE or self._registry is not None

    def resume(self, tracker: Tracker) -> None:
        """Upload what an earlier process of the same run could not."""
        if tracker.directory is None or tracker.is_offline:
            return
        logged = artifacts_logged_online(tracker.run.id, os.path.dirname(tracker.directory))
        self.uploading.update(entry.step for entry in logged if entry.step is not None)
        what = "Uploading what an earlier process could not"
        tracker.submit_slow(what, upload_missing, tracker, logged, lambda entry, _: self.uploading.discard(entry.step))

    def log_checkpoint(
        self, tracker: Tracker, saved: Checkpoint, metadata: Mapping[str, Any], needed: set[int], *, is_best: bool
    ) -> None:
        """Log a checkpoint.

        Args:
            tracker: The run.
            saved: The checkpoint.
            metadata: What is known of it, ``global_step`` and ``epoch`` among it.
            needed: The steps whose versions stay on the server.
            is_best: Whether it is the best so far.
        """
        step = metadata["global_step"]
        self.uploading.add(step)
        aliases = [f"step-{step}", f"epoch-{metadata['epoch']:.2f}", *(["best"] if is_best else [])]
        self._log(tracker, saved, "checkpoint", aliases, metadata, functools.partial(self._uploaded, step, needed))

    def log_base(self, tracker: Tracker, base: Checkpoint) -> None:
        """Log the base of a model with LoRA, which its checkpoints need to be loaded.

        Runs that train on the same base log the same artifact: the server takes its files once.
        """
        log_directory(tracker, base.path, name=base.name, metadata={"format_version": base.version})

    def _uploaded(self, step: int, needed: set[int], artifact: Any) -> None:
        """On the thread that waits for uploads."""
        self.uploading.discard(step)
        if artifact is not None and self._superseded_limit is not None:
            delete_superseded(artifact, self._superseded_limit, sorted(needed))

    def log_final(self, tracker: Tracker, saved: Checkpoint, metadata: Mapping[str, Any], *, is_best: bool) -> None:
        """Log the model at the end of training, and put it into the registry if that is wanted.

        Args:
            tracker: The run.
            saved: The model's directory.
            metadata: What is known of it.
            is_best: Whether it has the best weights, not the last ones.
        """
        then = None
        if self._registry is not None:
            name = self._named("model", tracker)
            then = functools.partial(link_logged, name=f"{name}:final", collection=self._registry)
        self._log(tracker, saved, "model", ["final", *(["best"] if is_best else [])], metadata, then)

    def _named(self, kind: Kind, tracker: Tracker) -> str:
        run = tracker.identity
        return artifact_name(kind, self._name or run.get("name"), run.get("id", ""))

    def _log(
        self,
        tracker: Tracker,
        saved: Checkpoint,
        kind: Kind,
        aliases: list[str],
        metadata: Mapping[str, Any],
        then: Callable[[Any], None] | None,
    ) -> None:
        log_directory(
            tracker,
            saved.path,
            name=self._named(kind, tracker),
            aliases=aliases,
            metadata={**metadata, "run_id": tracker.identity.get("id"), "format_version": saved.version},
            then=then,
        )
