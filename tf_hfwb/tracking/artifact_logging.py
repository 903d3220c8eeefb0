"""Directories as artifacts of the run.

Guarantees:

* Nothing is copied: the files are hashed and uploaded from their place. They must stay there, unchanged, until they are
  uploaded; of an offline run, until it is synced.
* It happens on the tracker's second thread. A failure is reported and never reaches training.
* A callback is called when the files are no longer needed.
* What was logged is in the journal (:mod:`tf_hfwb.tracking.artifact_journal`), so its names resolve offline, too.
"""

from __future__ import annotations

import logging
import math
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tf_hfwb.errors import ServerError
from tf_hfwb.secret_masking import mask
from tf_hfwb.tracking import artifact_journal
from tf_hfwb.tracking.artifact_names import LATEST
from tf_hfwb.tracking.pending_uploads import Upload
from tf_hfwb.tracking.tracker import Tracker

MAX_METADATA_KEYS = 100
_RETRY_SECS = 2.0

_logger = logging.getLogger("tf_hfwb")


def log_directory(
    tracker: Tracker,
    path: str | os.PathLike[str],
    *,
    name: str,
    type: str = "model",
    aliases: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    then: Callable[[Any], None] | None = None,
) -> None:
    """Log every file of a directory as a version of an artifact, in the background.

    Args:
        tracker: The run; without one, or when the client is disabled, nothing happens.
        path: The directory. It must stay as it is until it is uploaded.
        name: The artifact's name; see :func:`~tf_hfwb.tracking.artifact_names.artifact_name`.
        type: The artifact's type.
        aliases: Aliases of this version, besides ``latest``.
        metadata: Numbers and words about it. ``global_step`` goes into the journal as well.
        then: Called on another thread when the directory is no longer needed for the upload: with the client's artifact
            once the server has it, else with None: when the server refused it, and offline.
    """
    if tracker.directory is None:
        return
    path = os.path.abspath(path)
    claimed = [alias for alias in dict.fromkeys(aliases) if alias != LATEST]
    run = tracker.run
    values = plain_metadata(metadata or {})  # A copy: the caller may change its own later.
    step = values.get("global_step")
    entry = artifact_journal.Entry(
        name=name,
        type=type,
        path=path,
        aliases=tuple(claimed),
        entity=run.entity or None,
        project=run.project or None,
        run_id=run.id,
        step=int(step) if isinstance(step, (int, float)) else None,
        digest=artifact_journal.manifest_digest(path),
        metadata=values,
        is_offline=tracker.is_offline,
    )
    announced = tracker.uploads.announce(name, path)
    try:
        if any(_files(path)):
            # At once: what is still waiting when the process ends can then be found again.
            artifact_journal.record(os.path.dirname(os.path.dirname(run.dir)), entry)
    except OSError as error:
        _logger.warning("Artifact %r is not in the journal, so its name is not known offline: %s", name, error)
    tracker.submit_slow(f"Logging artifact {name!r} from {path}", _log, tracker, announced, entry, then)


def _log(
    tracker: Tracker, announced: Upload, entry: artifact_journal.Entry, then: Callable[[Any], None] | None
) -> None:
    try:
        log_with_retries(tracker, entry.path, lambda: upload(tracker, announced, entry, then))
    except Exception:
        announced.is_refused = True
        if then is not None:
            then(None)
        raise


def log_with_retries(tracker: Tracker, what: str, log: Callable[[], None]) -> None:
    """Log something with an artifact, and try again while the server does not answer, until somebody waits for it.

    The first artifact of a process needs the server; the client queues later ones by itself.

    Args:
        tracker: The run.
        what: What is logged, for messages.
        log: Logs it.

    Raises:
        ServerError: Somebody has waited before in vain.
    """
    import wandb

    while True:
        if tracker.has_given_up:
            raise ServerError(f"{what} was not tried: W&B does not answer.")
        try:
            return log()
        except wandb.errors.CommError:
            if tracker.is_waited_for:
                tracker.has_given_up = True
                raise
            time.sleep(_RETRY_SECS)


def upload(
    tracker: Tracker, announced: Upload, entry: artifact_journal.Entry, then: Callable[[Any], None] | None = None
) -> None:
    """Hand a directory to the client, on the calling thread.

    Args:
        tracker: The run.
        announced: The upload, which is missing until the server has it.
        entry: The directory's entry in the journal.
        then: See :func:`log_directory`.

    Raises:
        FileNotFoundError: The directory holds no file.
    """
    import wandb

    artifact = wandb.Artifact(entry.name, entry.type, metadata=dict(entry.metadata))
    files = list(_files(entry.path))
    if not files:
        raise FileNotFoundError(f"{entry.path} holds no file")
    # One by one, not with add_dir: that hashes with eight threads, which training would feel, and prints.
    for file in files:
        inside = os.path.relpath(file, entry.path).replace(os.sep, "/")
        artifact.add_file(file, name=inside, policy="immutable", skip_cache=True)
    logged = tracker.run.log_artifact(artifact, aliases=list(entry.aliases))
    if not tracker.is_offline:
        tracker.uploads.follow(announced, logged, then)
        return
    tracker.uploads.settle(announced)
    if then is not None:
        then(None)


def _files(path: str) -> Iterator[str]:
    for directory, folders, files in os.walk(path):
        folders.sort()
        for file in (os.path.join(directory, name) for name in sorted(files)):
            # A link may lead anywhere, and reading from a pipe would wait.
            if stat.S_ISREG(os.lstat(file).st_mode):
                yield file


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """``metadata`` as the client accepts it: at most 100 keys, numbers of NumPy as Python's, NaN and infinity as words.

    Secrets are masked. Where there are too many keys, metrics (names with a ``/``) are left out from the end, with a
    warning.

    Example:
        >>> plain_metadata({"eval/loss": float("nan"), "global_step": 5})
        {'eval/loss': 'NaN', 'global_step': 5}
    """
    known = mask({str(name): _plain_value(value) for name, value in metadata.items()})
    values = {name: value for name, value in known.items() if value is not None}
    if len(values) > MAX_METADATA_KEYS:
        kept = sorted(values, key=lambda name: "/" in name)[:MAX_METADATA_KEYS]
        _logger.warning(
            "An artifact's metadata holds %d names, of which W&B takes %d; left out: %s.",
            len(values),
            MAX_METADATA_KEYS,
            ", ".join(sorted(values.keys() - set(kept))),
        )
        values = {name: value for name, value in values.items() if name in set(kept)}
    return values


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain_value(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_value(inner) for inner in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if not isinstance(value, float) or math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
