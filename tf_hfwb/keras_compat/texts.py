"""Small files that do not change during a training, such as a tokenizer's: made once, written with every checkpoint."""

from __future__ import annotations

import hashlib
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.checkpoint.store import Checkpoint, Draft


def texts_of(save: Callable[[pathlib.Path], Any]) -> Mapping[str, bytes]:
    """The small files that ``save`` writes into a directory, such as a configuration or a tokenizer."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        save(directory)
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def write_texts(draft: Draft, texts: Mapping[str, bytes], previous: Checkpoint | None) -> None:
    """Write them into a draft, or link those that an earlier checkpoint has alike."""
    for name, content in texts.items():
        if not draft.reuse_same(name, hashlib.sha256(content).hexdigest(), previous):
            with draft.open(name) as file:
                file.write(content)
