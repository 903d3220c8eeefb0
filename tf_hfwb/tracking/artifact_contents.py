"""The manifest of an artifact, checked before anything in it is trusted.

Whoever made the artifact may be a stranger, who can write anything into its manifest. The W&B client joins the names in
it to a directory, and copies the files to which it refers, also from this machine.

Guarantees: of an artifact that passes

* each file has a name within the artifact's directory, and each is another file on every file system
  (:mod:`tf_hfwb.validation.relative_paths`);
* each file that W&B stores has a size;
* no reference leads to a file on this machine.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from tf_hfwb.errors import UnsafeArtifactError
from tf_hfwb.secret_masking import cause
from tf_hfwb.tracking.wandb_server import server_request
from tf_hfwb.validation.relative_paths import check_paths

PART = ".part"  # At the end of a file's name while it is downloaded.
_MAX_FILES = 100_000  # W&B takes no more in one artifact.
# A reference to another artifact leads to whatever that one refers to.
_SCHEMES = ("http", "https", "s3", "gs")


def check_entries(artifact: Any) -> Mapping[str, Any]:
    """The entries of an artifact's manifest by their names.

    Args:
        artifact: The client's artifact.

    Raises:
        UnsafeArtifactError: An entry would be written, or be read, where it must not.
        ServerError: The manifest could not be read.
    """
    import pydantic

    what = artifact.qualified_name
    with server_request(f"Reading what {what} holds"):
        try:
            entries: Mapping[str, Any] = artifact.manifest.entries
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            raise _unsafe(what, f"its manifest says {first['input']!r}: {first['msg']}") from cause(error)
    if len(entries) > _MAX_FILES:
        raise _unsafe(what, f"it names {len(entries)} files, more than {_MAX_FILES}")
    try:
        names = check_paths(entries)
    except ValueError as error:
        raise _unsafe(what, str(error)) from None
    for name in names:
        entry = entries[name]
        if entry.path != name:
            raise _unsafe(what, f"it names a file {name!r} that it also calls {str(entry.path)!r}")
        if name.endswith(PART) and name.removesuffix(PART) in entries:
            raise _unsafe(what, f"it names a file {name!r}, which another one has while it is downloaded")
        if entry.ref is None and entry.size is None:
            raise _unsafe(what, f"it does not say how large {name!r} is")
        if entry.ref is not None and urllib.parse.urlsplit(entry.ref).scheme not in _SCHEMES:
            raise _unsafe(what, f"its file {name!r} is the reference {entry.ref!r}")
    return entries


def folder_name(artifact: Any) -> str:
    """A name for the artifact's directory that tells its content from any other.

    Raises:
        UnsafeArtifactError: Its digest is not a digest.
    """
    if not re.fullmatch("[0-9a-f]{32}", artifact.digest):
        raise _unsafe(artifact.qualified_name, f"its digest is {artifact.digest!r}")
    name = str(artifact.source_name).split(":")[0]
    return f"{re.sub('[^A-Za-z0-9_.-]', '-', name)[:100]}-{artifact.digest}"


def _unsafe(artifact: str, what: str) -> UnsafeArtifactError:
    return UnsafeArtifactError(
        f"{artifact} is refused: {what}. Expected names of files within the artifact's directory, each of them once, "
        f"with their sizes, and references to {', '.join(_SCHEMES)} only. Nothing of it was written. Ask who logged it "
        "for a directory that holds the files themselves."
    )
