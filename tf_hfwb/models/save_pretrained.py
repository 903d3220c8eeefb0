"""A model in a directory that stock tools open, outside of checkpoints."""

from __future__ import annotations

import pathlib
from typing import Any

from tf_hfwb.keras_compat import is_of_transformers, plain_configuration, texts_of_processing
from tf_hfwb.masking import mask_json


def save_pretrained(model: Any, directory: pathlib.Path, processing_class: Any = None) -> None:
    """Write a model, and its tokenizer or processor.

    Args:
        model: The model, built.
        directory: For a transformers model what ``from_pretrained`` takes, else one with ``model.keras``.
        processing_class: The tokenizer or processor.

    Raises:
        SettingError: Something that belongs to them cannot be written as JSON; nothing has been written then.
    """
    texts = texts_of_processing(processing_class)
    if not is_of_transformers(model):
        directory.mkdir(parents=True, exist_ok=True)
        model.save(directory / "model.keras")
    else:
        plain_configuration(model)
        directory.mkdir(parents=True, exist_ok=True)
        own = getattr(model, "generation_config", None)
        try:
            # Its save_pretrained refuses what generate takes, as a temperature without do_sample.
            model.generation_config = None if own is None else type(own)()
            model.save_pretrained(directory, safe_serialization=True)
            mask_json(directory / "config.json")
        finally:
            model.generation_config = own
        if own is not None and model.can_generate():
            own.to_json_file(directory / "generation_config.json")
            mask_json(directory / "generation_config.json")
    for name, content in texts.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
