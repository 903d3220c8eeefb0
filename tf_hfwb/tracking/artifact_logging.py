"""Directories as artifacts of the run.

Guarantees:

* Nothing is copied: the files are hashed and uploaded from where they lie. They must stay there, unchanged, until they
  are uploaded; of an offline run, until it is synced.
* It happens on the tracker's second thread. A failure is reported and never reaches training.
* Whoever needs the files to be uploaded is told when they are.
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

from tf_hfwb.errors import ArtifactNotFoundError, ServerError
from tf_hfwb.masking import masked
from tf_hfwb.tracking import artifact_journal
from tf_hfwb.tracking.artifact_downloads import fetch
from tf_hfwb.tracking.artifact_names import LATEST, ArtifactReference, artifact_name, parse_reference
from tf_hfwb.tracking.pending_uploads import Upload
from tf_hfwb.tracking.tracker import Tracker
from tf_hfwb.tracking.wandb_server import find, is_online, record_use, versions_of_run

MAX_METADATA_KEYS = 100
_RETRY = 2.0  # Seconds.

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
    values = plain(metadata or {})  # Copied here: the caller may go on with its own.
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
        patiently(tracker, entry.path, lambda: upload(tracker, announced, entry, then))
    except Exception:
        announced.is_refused = True
        if then is not None:
            then(None)
        raise


def patiently(tracker: Tracker, what: str, log: Callable[[], None]) -> None:
    """Log something with an artifact, again and again until somebody waits for it.

    A process's first artifact needs the server; the client queues later ones by itself.

    Args:
        tracker: The run.
        what: What is logged, for messages.
        log: Logs it.

    Raises:
        ServerError: The server has not answered before while somebody waited.
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
            time.sleep(_RETRY)


def upload(
    tracker: Tracker, announced: Upload, entry: artifact_journal.Entry, then: Callable[[Any], None] | None = None
) -> None:
    """Hand a directory to the client, on the calling thread.

    Args:
        tracker: The run.
        announced: What is missing until the server has it.
        entry: What it is.
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


def directory_of(reference: ArtifactReference | str) -> str:
    """The directory on this machine that holds an artifact.

    Online that is what the server has under the name, downloaded unless it is here already, and the run records that it
    uses it. Offline, or when the server cannot be asked or does not have it, it is what was logged on this machine.

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

    The run is the one that is open, or that ``run_name``, ``WANDB_RUN_ID`` and ``WANDB_NAME`` say. Trouble with the
    server is reported, and counts as none.
    """
    import wandb

    if not is_online():
        return None
    settings, run = wandb.setup().settings, wandb.run
    run_id = settings.run_id if run is None else run.id
    given = run_name or (settings.run_name if run is None else run.name)
    names = dict.fromkeys(artifact_name("checkpoint", name, run_id or "") for name in (given, None) if name or run_id)
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


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """``metadata`` as the client accepts it: at most 100 keys, numbers of NumPy as Python's, NaN and infinity as words.

    Secrets are masked.

    Where there are too many keys, metrics (names with a ``/``) are left out from the end, with a warning.

    Example:
        >>> plain({"eval/loss": float("nan"), "global_step": 5})
        {'eval/loss': 'NaN', 'global_step': 5}
    """
    known = masked({str(name): _plain(value) for name, value in metadata.items()})
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


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
