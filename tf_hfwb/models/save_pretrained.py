"""``save_pretrained``: a model written, outside of checkpoints, into a directory that stock tools open."""

from __future__ import annotations

import pathlib
from typing import Any

from tf_hfwb.keras_compat import is_hub_task, is_of_transformers, plain_configuration, texts_of_processing
from tf_hfwb.secret_masking import mask_json


def save_pretrained(model: Any, directory: pathlib.Path, processing_class: Any = None) -> None:
    """Write a model, and its tokenizer or processor.

    Args:
        model: The model, built.
        directory: The directory: for a transformers model as ``from_pretrained`` reads it, a preset for a task of
            KerasHub, else with ``model.keras``.
        processing_class: The tokenizer or processor.

    Raises:
        SettingError: A part of their configuration cannot be written as JSON, or the model saves a preprocessor of
            its own. Nothing has been written then.
    """
    texts = texts_of_processing(processing_class, model)
    if not is_of_transformers(model):
        directory.mkdir(parents=True, exist_ok=True)
        if is_hub_task(model):
            model.save_to_preset(str(directory))
        else:
            model.save(directory / "model.keras")
    else:
        plain_configuration(model)
        directory.mkdir(parents=True, exist_ok=True)
        own = getattr(model, "generation_config", None)
        try:
            # Its save_pretrained refuses what generate takes, such as a temperature without do_sample.
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
