"""The generation config of a model with options of one's own in it, checked for what is supported here."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.messages import first_line


def load_generation_config(source: str) -> Any:
    """Load a generation config from a directory, a file or the hub.

    Args:
        source: The directory, the file or the model's name.

    Raises:
        SettingError: It cannot be loaded from there.
    """
    from transformers import GenerationConfig

    try:
        if os.path.isfile(source):
            return GenerationConfig.from_pretrained(*os.path.split(os.path.abspath(source)))
        return GenerationConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise SettingError(
            "generation_config",
            source,
            expected="a directory with generation_config.json, such a file, or a model's name on the hub",
            advice=f"({first_line(error)})",
        ) from error


def generation_config_of(model: Any, options: Mapping[str, Any]) -> Any:
    """A copy of the model's generation config with options in it, and with a pad token.

    Args:
        model: A TF model of transformers that can generate.
        options: By their names in ``GenerationConfig``; those that are None are left as they are.

    Raises:
        SettingError: An option is unknown or cannot be used here.
    """
    config = copy.deepcopy(model.generation_config)
    unknown = config.update(**{name: value for name, value in options.items() if value is not None})
    for name, value in unknown.items():
        raise SettingError(name, value, expected="an option of transformers' GenerationConfig", advice="Leave it out.")
    if config.num_return_sequences != 1:
        raise SettingError("num_return_sequences", config.num_return_sequences, expected="1: one text for each sample")
    if config.do_sample and config.num_beams > 1:
        raise SettingError(
            "num_beams",
            config.num_beams,
            expected="1, with do_sample=True: beams in transformers' TF code draw from TensorFlow's global generator, "
            "which would change the training",
            advice="Sample without beams, or search without sampling.",
        )
    if config.pad_token_id is None:
        end = config.eos_token_id
        config.pad_token_id = (end[0] if isinstance(end, list) else end) or 0
    if model.config.is_encoder_decoder and config.decoder_start_token_id is None and config.bos_token_id is None:
        raise SettingError(
            "decoder_start_token_id",
            None,
            expected="the token that the decoder starts with, in the model's generation config",
            advice="Pass decoder_start_token_id=..., which is the pad token for T5.",
        )
    config.return_dict_in_generate = False
    return config
