"""``generate`` in a SavedModel: greedy, up to a number of new tokens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tf_hfwb.data.input_length import longest_input
from tf_hfwb.errors import SettingError
from tf_hfwb.evaluation.generation_lengths import length_limits, num_positions
from tf_hfwb.evaluation.generation_options import generation_config_of
from tf_hfwb.evaluation.text_generation import without_padding_warning
from tf_hfwb.messages import inform

# The options of a generation config that cannot be the reason when generating fails.
_HARMLESS = {"bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version"}
_HARMLESS |= {"max_length", "max_new_tokens", "num_beams", "do_sample", "_from_model_config"}


class GraphGenerator:
    """Generates what follows a prompt, in a graph.

    Args:
        model: A TF model of transformers that can generate.
        max_new_tokens: The most tokens that are generated; what the model's generation config says, else 20, when None.

    Attributes:
        by_rows: Whether to generate row by row: slower, for what transformers can do for batches of a known size only.
        longest_prompt: The most tokens of a prompt that a decoder-only model has room for; None for no limit.

    Raises:
        SettingError: The number cannot be used, or the model lacks what generating needs.
    """

    def __init__(self, model: Any, max_new_tokens: int | None) -> None:
        self._model = model
        self._config = generation_config_of(model, {"num_beams": 1, "do_sample": False, "num_return_sequences": 1})
        self._has_encoder = bool(model.config.is_encoder_decoder)
        last = num_positions(model, "max_target_positions", "max_decoder_position_embeddings")
        if not self._has_encoder:
            last = min(last, longest_input(model, None) or last)
        if max_new_tokens is not None and max_new_tokens >= last:
            raise SettingError(
                "max_new_tokens",
                max_new_tokens,
                expected=f"less than {last}, the model's positions, so that there is room for a prompt",
            )
        total, self._new = length_limits(self._config, None, max_new_tokens, has_encoder=self._has_encoder)
        self._total = min(total or last, last)
        if self._new is not None and self._new >= last:
            self._new = max(1, last // 2)
            inform("generate adds %d tokens at most: the model has %d positions.", self._new, last)
        self._config.max_new_tokens = None
        is_bounded = not self._has_encoder and last < sys.maxsize
        self.longest_prompt = last - (self._new or 1) if is_bounded else None
        self.by_rows = False

    @property
    def options(self) -> str:
        """What the generation config asks for, besides tokens and lengths."""
        given = self._config.to_diff_dict().items()
        return ", ".join(f"{name}={value!r}" for name, value in given if name not in _HARMLESS)

    def __call__(self, input_ids: Any, attention_mask: Any) -> Any:
        """The new ids [batch, length]; for an encoder-decoder its start token and what follows.

        Prompts may be padded on either side. Of one that leaves a decoder-only model no positions for the new tokens,
        the beginning is dropped.
        """
        import tensorflow as tf

        if self._has_encoder:
            return self._generate(input_ids, attention_mask, 0, self._total)
        # Tokens must be at the right end, where generation continues.
        order = tf.argsort(attention_mask, axis=1, stable=True)
        ids, mask = (tf.gather(value, order, batch_dims=1) for value in (input_ids, attention_mask))
        if self.longest_prompt is not None:
            ids, mask = ids[:, -self.longest_prompt :], mask[:, -self.longest_prompt :]
        width = tf.shape(ids)[1] if ids.shape[1] is None else ids.shape[1]
        total = self._total_length(width) if isinstance(width, int) else self._total_length(width, tf.maximum)
        return self._generate(ids, mask, width, total)

    def _total_length(self, width: Any, maximum: Callable[..., Any] = max) -> Any:
        """The length to which prompts of that width are continued."""
        return maximum(width + 1, self._total) if self._new is None else width + self._new

    def _generate(self, ids: Any, mask: Any, width: Any, total: Any) -> Any:
        """The tokens after the first ``width``, of ``total``."""
        import tensorflow as tf

        def generate(ids: Any, mask: Any) -> Any:
            with without_padding_warning():
                made = self._model.generate(ids, attention_mask=mask, generation_config=self._config, max_length=total)
            return made[:, width:]

        if not self.by_rows:
            return generate(ids, mask)

        def one(row: tuple[Any, Any]) -> tuple[Any, Any]:
            made = generate(*(tf.expand_dims(value, 0) for value in row))[0]
            missing = total - width - tf.size(made)
            return tf.pad(made, [[0, missing]], constant_values=self._config.pad_token_id), tf.size(made)

        specs = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32))
        rows, lengths = tf.map_fn(one, (ids, mask), fn_output_signature=specs)
        return rows[:, : tf.reduce_max(lengths)]
