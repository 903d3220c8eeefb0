"""Names of artifacts, and references to them: pure text.

W&B accepts ASCII letters, digits, ``_``, ``-`` and ``.``, at most 128 of them. A name that we make is brought into
that form; a name that the user gives is checked and never changed behind his back.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from tf_hfwb.errors import SettingError

LATEST = "latest"
MAX_LENGTH = 128
_ALLOWED = re.compile(r"[A-Za-z0-9_.-]+")
# A character that W&B does not accept, with the hyphens before it and whatever is replaced after it.
_REPLACED = re.compile(r"-*[^A-Za-z0-9_.-][^A-Za-z0-9_.]*")
_OWN = re.compile(r"(?:checkpoint-(?![0-9]+$)|model-).+")  # A directory of steps has only digits.
_REFERENCE = re.compile(
    r"(?:(?:(?P<entity>[^/:\\]+)/)?(?P<project>[^/:\\]+)/)?(?P<name>[^/:\\]+)(?::(?P<alias>[^/:\\]+))?"
)


def artifact_name(kind: Literal["checkpoint", "model"], run_name: str | None, run_id: str) -> str:
    """The name of a run's checkpoints or models: ``{kind}-{run_name}``, or ``{kind}-{run_id}`` without a run name.

    A name that is too long is cut, and one in another script loses its letters; both end in a hash of the whole, so
    that two names stay two.

    Args:
        kind: What the artifact holds.
        run_name: The run's name as the user gave it.
        run_id: The run's id.

    Example:
        >>> artifact_name("checkpoint", "org/bert (large)", "3xk9")
        'checkpoint-org-bert-large'
        >>> artifact_name("model", "\uc2e4\ud5d8 2", "3xk9")
        'model-2-4099e492'
        >>> artifact_name("model", None, "3xk9")
        'model-3xk9'
    """
    for given in filter(None, (run_name, run_id)):
        whole = unicodedata.normalize("NFC", given)  # As typed, on every system.
        digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
        cleaned = _REPLACED.sub("-", whole).strip("-")
        if not whole.isascii():
            cleaned = f"{cleaned}-{digest}".lstrip("-")
        if cleaned:
            name = f"{kind}-{cleaned}"
            if len(name) > MAX_LENGTH:
                name = f"{name[: MAX_LENGTH - len(digest) - 1]}-{digest}"
            return name
    return kind


def check_artifact_name(name: str, argument: str = "artifact_name") -> str:
    """``name``, a name that the user gave, if W&B accepts it.

    Args:
        name: The name.
        argument: What the user knows it as.

    Raises:
        SettingError: The name is empty, too long, or has other characters.
    """
    if not _ALLOWED.fullmatch(name) or len(name) > MAX_LENGTH:
        suggestion = _REPLACED.sub("-", name).strip("-")[:MAX_LENGTH]
        raise SettingError(
            argument,
            name,
            expected=f"1 to {MAX_LENGTH} ASCII letters, digits, '_', '-' or '.'",
            advice=f"Write {suggestion!r}, for example." if suggestion else "Leave it out to have a name made.",
        )
    return name


def check_alias(alias: str) -> str:
    """``alias``, one that the user gives to a version, if W&B accepts it.

    Raises:
        SettingError: It is empty, too long, has a ``/`` or ``:`` in it, or looks like a version.
    """
    if not alias or len(alias) > MAX_LENGTH or set("/:") & set(alias) or re.fullmatch(r"v\d+", alias):
        raise SettingError(
            "alias",
            alias,
            expected=f"1 to {MAX_LENGTH} characters without '/' and ':', not like v3: W&B counts versions itself",
        )
    return alias


@dataclass(frozen=True)
class ArtifactReference:
    """A version of an artifact by name.

    Attributes:
        entity: The user or team, or None.
        project: The project, or None.
        name: The artifact's name.
        alias: The alias or version.
    """

    entity: str | None
    project: str | None
    name: str
    alias: str = LATEST

    def __str__(self) -> str:
        return "/".join(part for part in (self.entity, self.project, self.name) if part) + f":{self.alias}"


def parse_reference(text: str) -> ArtifactReference:
    """Take ``entity/project/name:alias`` apart; entity, project and alias may be left out.

    Raises:
        SettingError: The text is not of this form.

    Example:
        >>> parse_reference("glue/checkpoint-bert:best")
        ArtifactReference(entity=None, project='glue', name='checkpoint-bert', alias='best')
    """
    match = _REFERENCE.fullmatch(text.strip())
    if match is None:
        raise SettingError(
            "artifact",
            text,
            expected="'name', 'name:alias', 'project/name:alias' or 'entity/project/name:alias'",
            advice=f"Without an alias, {LATEST!r} is meant.",
        )
    return ArtifactReference(match["entity"], match["project"], match["name"], match["alias"] or LATEST)


def looks_like_reference(text: str) -> bool:
    """Whether ``text`` can only mean an artifact: it names an alias, which no hub name does, and no path.

    Example:
        >>> looks_like_reference("glue/checkpoint-bert:best"), looks_like_reference("google-bert/bert-base-cased")
        (True, False)
    """
    match = _REFERENCE.fullmatch(text.strip())
    parts = (match["entity"], match["project"], match["name"]) if match else ()
    return match is not None and match["alias"] is not None and not {".", "..", "~"}.intersection(filter(None, parts))


def looks_like_own_name(text: str) -> bool:
    """Whether ``text`` may be the name of an artifact that this package has logged, without an alias.

    Example:
        >>> looks_like_own_name("glue/checkpoint-bert"), looks_like_own_name("google-bert/bert-base-cased")
        (True, False)
        >>> looks_like_own_name("checkpoint-500")
        False
    """
    match = _REFERENCE.fullmatch(text.strip())
    return match is not None and match["alias"] is None and bool(_OWN.fullmatch(match["name"]))
