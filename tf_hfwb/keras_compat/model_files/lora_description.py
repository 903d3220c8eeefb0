"""``lora.json`` of a checkpoint: which base its adapters need, and on which layers they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.errors import CorruptCheckpointError
from tf_hfwb.validation.json_checks import (
    UnexpectedValueError,
    number,
    one_of,
    optional,
    record,
    series,
    text,
    unexpected,
    whole,
)

LORA = "lora.json"
ADAPTERS = "adapters.safetensors"
BASE = "base.safetensors"  # In a directory of its own, which all checkpoints of a base share.

_FORMAT = 1


@dataclass(frozen=True)
class Adapter:
    """LoRA on one layer: its kernel is the base's plus ``alpha / rank`` times the product of two matrices.

    Attributes:
        layer: The layer's group in Keras's file of weights.
        rank: The rank of the product.
        alpha: The factor, before the division by the rank.
        kernel: The place of the kernel in the base; None for a layer whose kernel is quantized.
        a: The name of the first matrix.
        b: The name of the second one.
    """

    layer: str
    rank: int
    alpha: float
    kernel: str | None
    a: str
    b: str


@dataclass(frozen=True)
class LoRADescription:
    """What a checkpoint says of its adapters.

    Attributes:
        base_sha256: The digest of the file of the base's tensors, by which one base can be told from all others.
        base_size: The size of that file in bytes.
        adapters: The adapters.
    """

    base_sha256: str
    base_size: int
    adapters: Sequence[Adapter]

    @property
    def base_name(self) -> str:
        """The name of the base's directory and of its artifact."""
        return base_name(self.base_sha256)

    @property
    def in_file(self) -> dict[str, Any]:
        """What :meth:`read` reads."""
        base = {"name": self.base_name, "sha256": self.base_sha256, "size": self.base_size}
        return {"format": _FORMAT, "base": base, "layers": [asdict(adapter) for adapter in self.adapters]}

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> LoRADescription:
        """Read the file of a checkpoint.

        Raises:
            CorruptCheckpointError: It is missing, or not what a save writes.
            NotACheckpointError: The checkpoint has been removed meanwhile.
        """
        try:
            found = _CONTENT(checkpoint.read_json(LORA), "")
        except UnexpectedValueError as error:
            raise CorruptCheckpointError(
                f"{checkpoint.path / LORA} cannot be used: {error} Use another checkpoint, or copy this one again."
            ) from error
        layers = [Adapter(**{name: layer[name] for name in _LAYER}) for layer in found["layers"]]
        return cls(found["base"]["sha256"], found["base"]["size"], layers)


def base_name(sha256: str) -> str:
    """The name of the directory of a base, and of its artifact, by the digest of its tensors.

    Example:
        >>> base_name("07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3")
        'base-07eced375cec144d'
    """
    return f"base-{sha256[:16]}"


def _sha256(value: Any, place: str) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise unexpected(value, place, "64 hexadecimal digits")
    return value


_LAYER = {
    "layer": text,
    "rank": whole(1),
    "alpha": number,
    "kernel": optional(text),
    "a": text,
    "b": text,
}
_CONTENT = record(
    {
        "format": one_of([_FORMAT]),
        "base": record({"sha256": _sha256, "size": whole()}),
        "layers": series(record(_LAYER)),
    }
)
