"""Add noise to the input embeddings in training, where the arguments say so."""

from __future__ import annotations

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import Host, add_noise, remove_noise
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments


def use_embedding_noise(host: Host, args: TFTrainingArguments) -> None:
    """Let the model be trained as ``neftune_noise_alpha`` says.

    Raises:
        SettingError: The model has no layer that embeds tokens and nothing else.
    """
    if args.neftune_noise_alpha is None:
        remove_noise(host.model)
    elif not add_noise(host.model, args.neftune_noise_alpha):
        raise SettingError(
            "neftune_noise_alpha",
            args.neftune_noise_alpha,
            expected=f"None with {type(host.model).__name__}, which has no layer that embeds tokens and nothing else",
            advice="Use a model that has one, such as GPT-2, T5, BART or Mistral.",
        )
