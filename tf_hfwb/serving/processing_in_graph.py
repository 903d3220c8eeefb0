"""The tokenizer or image processor of a model as part of its graph."""

from __future__ import annotations

import logging
from typing import Any

from tf_hfwb.data.input_length import longest_input
from tf_hfwb.errors import SettingError
from tf_hfwb.serving.images_in_graph import PicturesInGraph, UnsupportedProcessorError, sides_of
from tf_hfwb.serving.served_outputs import is_ended_by_padding
from tf_hfwb.serving.tokenizers.texts_in_graph import TextsInGraph
from tf_hfwb.serving.tokenizers.unsupported import UnsupportedTokenizerError

_logger = logging.getLogger("tf_hfwb")


def processing_for(model: Any, processor: Any, max_length: int | None = None) -> TextsInGraph | PicturesInGraph | None:
    """Build a model's tokenizer or image processor of TensorFlow's operations; None, with a warning, if there is none.

    Args:
        model: A TF model of transformers.
        processor: Its tokenizer or image processor; None without one.
        max_length: The most ids that a text is cut to; what the tokenizer and the model allow when None.

    Raises:
        SettingError: The options or the processor do not fit the model.
    """
    longest = longest_input(model, processor)
    if max_length is not None and longest is not None and max_length > longest:
        raise SettingError("max_length", max_length, expected=f"at most {longest}, which the model has positions for")
    takes_texts = model.main_input_name == "input_ids"
    if not takes_texts and model.main_input_name != "pixel_values":
        return None
    is_ended = is_ended_by_padding(model)
    name = "tokenizer" if takes_texts else "image processor"
    without = "takes token ids and no texts" if takes_texts else "takes pixels and no pictures"
    if processor is None:
        _logger.warning("There is no %s, so the SavedModel %s. Pass processing_class.", name, without)
        return None
    try:
        if not takes_texts:
            return _check_sides(model, PicturesInGraph(processor))
        padding: dict[str, Any] = {}
        if is_ended:  # Padded on the right: what is behind a text makes no difference to a decoder.
            padding = {"pad_token_id": model.config.pad_token_id, "is_left": False}
        elif getattr(processor, "pad_token_id", None) is None:
            padding = {"pad_token_id": model.config.pad_token_id}
        return TextsInGraph(processor, max_length or longest, **padding)
    except (UnsupportedTokenizerError, UnsupportedProcessorError) as error:
        _logger.warning("The %s cannot be in the graph: %s. The SavedModel %s.", name, error, without)
        return None


def _check_sides(model: Any, pictures: PicturesInGraph) -> PicturesInGraph:
    """Refuse an image processor whose pictures do not have the size that the model is made for."""
    size = sides_of(model)
    if size is not None and size != pictures.sides:
        raise SettingError(
            "processing_class",
            "x".join(map(str, pictures.sides)),
            expected=f"an image processor that makes pictures of {'x'.join(map(str, size))}, which "
            f"{type(model).__name__} takes (image_size in its configuration)",
            advice="Set size (and crop_size) of the image processor as it was in training.",
        )
    return pictures
