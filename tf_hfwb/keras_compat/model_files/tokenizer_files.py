"""Small files that do not change during a training, such as a tokenizer's, and are written with every checkpoint."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from tf_hfwb.checkpoint.store import Checkpoint, Draft
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat.hub_tasks import prepares_inputs


def texts_of(save: Callable[[pathlib.Path], Any]) -> Mapping[str, bytes]:
    """The small files that ``save`` writes into a directory, such as a configuration or a tokenizer."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        save(directory)
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def texts_of_processing(processing_class: Any, model: Any) -> Mapping[str, bytes]:
    """The files of a tokenizer or processor; no files for None.

    Args:
        processing_class: The tokenizer or processor.
        model: The model beside whose files they will lie.

    Raises:
        SettingError: It cannot be saved, or the model has one of its own.
    """
    if processing_class is None:
        return {}
    if prepares_inputs(model):
        raise SettingError(
            "processing_class",
            type(processing_class).__name__,
            expected="None for a task of KerasHub, whose own preprocessor is saved with it, in files of the same names",
            advice="Leave it out; or set model.preprocessor = None, if the data have been prepared with another one.",
        )
    try:
        return texts_of(processing_class.save_pretrained)
    except (TypeError, ValueError, AttributeError) as error:
        raise SettingError(
            "processing_class",
            type(processing_class).__name__,
            expected=f"a tokenizer or processor that save_pretrained can write ({error})",
            advice="Take what JSON cannot write out of its arguments, or pass processing_class=None.",
        ) from error


def write_texts(draft: Draft, texts: Mapping[str, bytes], previous: Checkpoint | None) -> None:
    """Write them into a draft, or link those that are the same in an earlier checkpoint."""
    for name, content in texts.items():
        if not draft.reuse_same(name, [content], previous):
            with draft.open(name) as file:
                file.write(content)
