"""Loading the model and the tokenizer that are to be exported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import host_of, is_of_transformers
from tf_hfwb.resume.find_checkpoint import find_local_path
from tf_hfwb.resume.load_model import load_model
from tf_hfwb.resume.load_processing import load_processing


def load_source(
    source: Any,
    processing_class: Any = None,
    *,
    safe_mode: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
) -> tuple[Any, Any]:
    """The model, and the tokenizer or None.

    Args:
        source: A model, a directory, or the name of an artifact.
        processing_class: The tokenizer, if it is not that of the directory.
        safe_mode: As in ``load_model``.
        custom_objects: As in ``load_model``; None leaves it out.

    Raises:
        NotAKerasModelError: ``source`` is none of these.
        SettingError: The model has no weights yet.
        NotACheckpointError: There is no model in the directory.
        CorruptCheckpointError: The directory's files are not those that were written.
        UnsafeModelError: The model could run code or read other files.
        ArtifactNotFoundError: There is no artifact of that name.
    """
    if isinstance(source, (str, os.PathLike)):
        path = find_local_path(source)
        options = {} if custom_objects is None else {"custom_objects": custom_objects}
        return load_model(path, safe_mode=safe_mode, **options), processing_class or load_processing(path)
    if not safe_mode:
        raise SettingError(
            "safe_mode", safe_mode, expected="True with a model that is there already", advice="Leave it out."
        )
    if custom_objects is not None:
        raise SettingError(
            "custom_objects", custom_objects, expected="None with a model that is there already", advice="Leave it out."
        )
    host_of(source)  # Raises NotAKerasModelError if it is not a model.
    if not source.built:
        if not is_of_transformers(source):
            raise SettingError(
                "model",
                type(source).__name__,
                expected="a built model, whose inputs are known",
                advice="Call it once on a batch, or call model.build(input_shape), first.",
            )
        source.build_in_name_scope()
    return source, processing_class
