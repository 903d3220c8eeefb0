"""A journal of the artifacts that were logged, so that their names resolve without a server.

Guarantees:

* One line of JSON per artifact in ``tf_hfwb-artifacts.jsonl``, in the folder of the client's run folders.
* An entry is appended by one write and synced to the disk before :func:`record` returns; several processes may write.
* A line that a killed process left unfinished is ignored, and does not damage the entry after it.
* An alias sits on the newest entry that claimed it, as on the server. ``latest`` is the newest entry of the name.

It does not number versions: the server does that.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pathlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tf_hfwb.checkpoint.fsync import sync_directory
from tf_hfwb.errors import ArtifactNotFoundError
from tf_hfwb.tracking.artifact_names import LATEST, ArtifactReference, parse_reference

FILE = "tf_hfwb-artifacts.jsonl"

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class Entry:
    """One logged artifact.

    Attributes:
        name: The artifact's name.
        type: The artifact's type.
        path: The directory that holds it, absolute.
        aliases: The aliases it was logged with, besides ``latest``.
        entity: The user or team of the run; None if the client did not know it, as offline.
        project: The project of the run.
        run_id: The run's id.
        step: The global step.
        digest: The SHA-256 of the directory's ``manifest.json``; None if it has none.
        metadata: What the artifact says about itself.
        is_offline: Whether it was logged to an offline run, which ``wandb sync`` uploads.
        time: Seconds since 1970.
    """

    name: str
    type: str
    path: str
    aliases: Sequence[str] = ()
    entity: str | None = None
    project: str | None = None
    run_id: str | None = None
    step: int | None = None
    digest: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    is_offline: bool = False
    time: float = field(default_factory=time.time)


def record(folder: str | os.PathLike[str], entry: Entry) -> None:
    """Append ``entry`` to the journal in ``folder``.

    Raises:
        OSError: The file cannot be written.
    """
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, FILE)
    is_new = not os.path.exists(path)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        line = json.dumps(asdict(entry), allow_nan=False).encode() + b"\n"
        size = os.fstat(descriptor).st_size
        if size and _last_byte(descriptor, size) != b"\n":
            line = b"\n" + line  # A killed process left an unfinished line.
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync_directory(pathlib.Path(folder))


def _last_byte(descriptor: int, size: int) -> bytes:
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1)


def entries(folder: str | os.PathLike[str]) -> list[Entry]:
    """The journal's entries, oldest first."""
    try:
        with open(os.path.join(folder, FILE), "rb") as file:
            return list(_parse(file))
    except FileNotFoundError:
        return []


def _parse(lines: Iterator[bytes] | Sequence[bytes]) -> Iterator[Entry]:
    names = {entry_field.name for entry_field in fields(Entry)}
    for line in lines:
        try:
            values = {key: value for key, value in json.loads(line).items() if key in names}
            yield Entry(**{**values, "aliases": tuple(values["aliases"])})
        except (ValueError, AttributeError, TypeError, KeyError):
            continue


def manifest_digest(path: str | os.PathLike[str]) -> str | None:
    """The SHA-256 of a directory's manifest, which names the digests of all its files; None without one."""
    try:
        with open(os.path.join(path, "manifest.json"), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def is_there(entry: Entry) -> bool:
    """Whether the entry's directory still exists and holds what was logged: another training may have replaced it."""
    return os.path.isdir(entry.path) and entry.digest in (None, manifest_digest(entry.path))


def resolve(reference: ArtifactReference | str, folder: str | os.PathLike[str]) -> str:
    """The directory that ``reference`` stands for.

    For ``latest``, entries whose directory has gone are passed over with a note. An alias that somebody set on purpose
    (``best``, ``final``, ``step-100``) has one holder, and if that has gone it is an error.

    Args:
        reference: The artifact's name, with its alias. A project or entity that is left out does not restrict; an entry
            of unknown entity, as offline, fits every one.
        folder: The folder of the client's run folders.

    Raises:
        ArtifactNotFoundError: There is no such name or alias, or its directory has gone.
        SettingError: The reference is not of the form ``entity/project/name:alias``.
    """
    wanted = parse_reference(reference) if isinstance(reference, str) else reference
    known = entries(folder)
    versions = [entry for entry in reversed(known) if _fits(entry, wanted)]
    if not versions:
        names = list(dict.fromkeys(_full_name(entry) for entry in reversed(known)))
        raise ArtifactNotFoundError(
            str(wanted),
            f"No artifact {str(wanted)!r} is known on this machine. Expected a name in {os.path.join(folder, FILE)}: "
            f"{', '.join(names) or 'there is none'}. Pass one of them, or the checkpoint's directory.",
            names,
        )
    if wanted.alias == LATEST:
        return _newest(wanted, versions)
    holder = next((entry for entry in versions if wanted.alias in entry.aliases), None)
    if holder is None:
        raise _unknown_alias(wanted, versions)
    if not is_there(holder):
        raise ArtifactNotFoundError(
            str(wanted),
            f"The directory of {str(wanted)!r} has gone, or holds something else by now: {holder.path}. Expected it to "
            f"stay as it was until the run is synced. Put it back, or pass another of its aliases: "
            f"{', '.join(_aliases(versions))}.",
            _aliases(versions),
        )
    return holder.path


def _fits(entry: Entry, wanted: ArtifactReference) -> bool:
    return (
        entry.name == wanted.name
        and (wanted.project is None or wanted.project == entry.project)
        and (wanted.entity is None or entry.entity is None or wanted.entity == entry.entity)
    )


def _full_name(entry: Entry) -> str:
    return "/".join(part for part in (entry.entity, entry.project, entry.name) if part)


def _newest(wanted: ArtifactReference, versions: Sequence[Entry]) -> str:
    for position, entry in enumerate(versions):
        if is_there(entry):
            if position:
                _logger.warning(
                    "The newest directory of %r has gone (%s); %s is used instead.",
                    str(wanted),
                    versions[0].path,
                    entry.path,
                )
            return entry.path
    gone = list(dict.fromkeys(entry.path for entry in versions))
    raise ArtifactNotFoundError(
        str(wanted),
        f"Every directory of {str(wanted)!r} has gone: {', '.join(gone)}. Expected one of them to be there. Put it "
        "back, or pass another artifact.",
    )


def _aliases(versions: Sequence[Entry]) -> list[str]:
    """The aliases that lead to a directory, newest first."""
    holders: dict[str, Entry] = {}
    for entry in versions:
        for alias in entry.aliases:
            holders.setdefault(alias, entry)
    found = [alias for alias, entry in holders.items() if is_there(entry)]
    return ([LATEST] if any(is_there(entry) for entry in versions) else []) + found


def _unknown_alias(wanted: ArtifactReference, versions: Sequence[Entry]) -> ArtifactNotFoundError:
    known = _aliases(versions)
    if re.fullmatch(r"v\d+", wanted.alias):
        what = f"{str(wanted)!r} cannot be found offline: version numbers are given by the server"
    else:
        what = f"No version of {wanted.name!r} has the alias {wanted.alias!r}"
    message = f"{what}. Expected one of the aliases that exist offline: {', '.join(known) or 'none is left'}."
    return ArtifactNotFoundError(str(wanted), f"{message} Pass one of them, or the checkpoint's directory.", known)
