"""The base of a LoRA training: written once beside its checkpoints, compared with a model's, and found again.

Its directory is called after the digest of its tensors. So is its artifact, which all runs of a project that train on
the same base share.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from tf_hfwb.checkpoint.digests import digest_of_chunks
from tf_hfwb.checkpoint.manifest import MANIFEST
from tf_hfwb.checkpoint.safetensors_files import chunks
from tf_hfwb.checkpoint.store import Checkpoint, Pace, Store
from tf_hfwb.errors import (
    ArtifactNotFoundError,
    CheckpointError,
    CorruptCheckpointError,
    NotACheckpointError,
    ServerError,
    StateMismatchError,
)
from tf_hfwb.keras_compat import BASE, LORA, Host, LoRADescription, LoRAFiles, base_name
from tf_hfwb.resume.trainer_state import FACTS, TrainerState
from tf_hfwb.tracking.artifact_lookup import directory_of
from tf_hfwb.tracking.artifact_names import ArtifactReference


def write_base(store: Store, tensors: Mapping[str, np.ndarray], pace: Pace) -> Checkpoint:
    """Write a base into an output directory, unless it lies there whole.

    Args:
        store: The output directory.
        tensors: The base's, in the model's order.
        pace: See :meth:`Store.draft`.
    """
    sha256 = digest_of_chunks(chunks(tensors), pace)[1]
    name = base_name(sha256)
    with contextlib.suppress(CheckpointError):
        return _opened(store.path / name, sha256)
    with store.draft(name, pace) as draft:
        draft.write_tensors(BASE, tensors)
        return draft.commit()


def remove_unneeded_bases(store: Store, needed: str | None) -> None:
    """Remove the bases in an output directory that nothing there names any more.

    Args:
        store: The output directory, without other processes that save there.
        needed: The name of the base of the running training; None without one.
    """
    bases = {path.parent for path in store.path.glob(f"base-*/{BASE}") if (path.parent / MANIFEST).is_file()}
    bases = {path for path in bases if re.fullmatch("base-[0-9a-f]{16}", path.name) and path.name != needed}
    for file in store.path.glob(f"*/{LORA}") if bases else ():
        try:
            bases.discard(store.path / LoRADescription.read(Checkpoint.read_manifest(file.parent)).base_name)
        except CheckpointError:  # Nobody knows which one it needs.
            return
    store.remove(sorted(bases))


def check_base(host: Host, files: LoRAFiles, checkpoint: Checkpoint) -> None:
    """Compare the base in a model with the one that a checkpoint's adapters were trained on.

    Raises:
        StateMismatchError: It is another one.
        CorruptCheckpointError: The checkpoint does not say which one it needs.
    """
    needed = LoRADescription.read(checkpoint)
    size, sha256 = digest_of_base(host, files)
    if sha256 != needed.base_sha256:
        raise StateMismatchError(
            f"The adapters in {checkpoint.path} were trained on another base than the model has: on {needed.base_name} "
            f"({needed.base_size} bytes), and the model's frozen weights are {base_name(sha256)} ({size} bytes). "
            "Expected the same weights, frozen and quantized as then. Load them from where they came from then and "
            "enable LoRA, before restore; to use the model without training it, take load_model."
        )


def digest_of_base(host: Host, files: LoRAFiles) -> tuple[int, str]:
    """The size and the SHA-256 of the file that a model's base as of now would have."""
    values = zip(files.base, host.snapshot([*files.base.values()]), strict=True)
    return digest_of_chunks(chunks({name: np.asarray(value) for name, value in values}))


def find_base(checkpoint: Checkpoint) -> Checkpoint:
    """The base of a checkpoint: beside it, else the artifact of its name, downloaded if need be.

    Raises:
        NotACheckpointError: It is neither.
        CorruptCheckpointError: It is damaged; or the checkpoint does not say which one it needs.
    """
    needed = LoRADescription.read(checkpoint)
    beside = checkpoint.path.absolute().with_name(needed.base_name)
    with contextlib.suppress(NotACheckpointError):
        return _opened(beside, needed.base_sha256)
    run = TrainerState.read(checkpoint).run if FACTS in checkpoint.files else {}
    reference = ArtifactReference(run.get("entity"), run.get("project"), needed.base_name)
    try:
        return _opened(pathlib.Path(directory_of(reference)), needed.base_sha256)
    except (ArtifactNotFoundError, NotACheckpointError, ServerError) as error:
        there = "W&B cannot be asked for" if isinstance(error, ServerError) else "there is no"
        raise NotACheckpointError(
            f"{checkpoint.path} has the adapters of a LoRA training without their base: there is no {beside}, and "
            f"{there} artifact {reference}. Expected one of them. Copy {needed.base_name} there from the training's "
            "output directory; or make the model with its base and LoRA as for the training, and call restore."
        ) from error


def _opened(path: pathlib.Path, sha256: str) -> Checkpoint:
    """The base in a directory.

    Raises:
        NotACheckpointError: There is none.
        CorruptCheckpointError: It is damaged, or another one.
    """
    base = Checkpoint.open(path)
    base.verify()
    found = base.files.get(BASE)
    if found is None or found.sha256 != sha256:
        raise CorruptCheckpointError(
            f"{path} is not the base that its name says: the SHA-256 of {BASE} is {found and found.sha256}. Expected "
            f"{sha256}. Copy it again."
        )
    return base
