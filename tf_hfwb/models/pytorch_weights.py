"""Weights in PyTorch's format, loaded into a TensorFlow model without PyTorch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

# An input embedding, and the tensors that PyTorch models tie to it: heads (when the configuration says so) and the
# embeddings of an encoder and a decoder that share theirs.
_INPUT_EMBEDDING = re.compile(r"(\w+\.)?(shared|wte|embeddings\.word_embeddings)\.weight")
_TIED_HEAD = re.compile(r"(lm_head|lm_head\.decoder|cls\.predictions\.decoder)\.weight")
_SHARED_EMBEDDING = re.compile(r"(\w+\.)?(encoder|decoder)\.embed_tokens\.weight")


class LazyTensors(Mapping[str, Any]):
    """The tensors of all shards by name; each is read from its file when it is asked for."""

    def __init__(self, shards: Sequence[Any]):
        self._shard_of = {name: shard for shard in shards for name in shard.keys()}  # noqa: SIM118 - not a mapping

    def __getitem__(self, name: str) -> Any:
        return self._shard_of[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shard_of)

    def __len__(self) -> int:
        return len(self._shard_of)


def is_in_pytorch_format(shards: Sequence[Any]) -> bool:
    """Whether open safetensors files hold a model's weights by PyTorch's names and in its layout."""
    written_by = (shards[0].metadata() or {}).get("format")
    if written_by in ("pt", "tf", "flax", "mlx"):
        return bool(written_by == "pt")
    # Converters that call safetensors.torch.save_file themselves often leave the format out, and transformers refuses
    # their files. But names tell: "bert.pooler.dense.bias" is PyTorch's way, "bert/pooler/dense/bias:0" TensorFlow's.
    names = list(LazyTensors(shards))
    return any("." in name for name in names) and not any("/" in name for name in names)


def load_pytorch_weights(
    model: Any, tensors: LazyTensors, rename: Callable[[str], Sequence[str]] | None
) -> dict[str, Any]:
    """Load weights in PyTorch's format into a TF model.

    Args:
        model: The model; it is built if it is not yet.
        tensors: The weights by their names in PyTorch.
        rename: The argument ``tf_to_pt_weight_rename``; the model's own function when None.

    Returns:
        ``missing_keys``, ``unexpected_keys`` and ``mismatched_keys``.
    """
    from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model

    model.build_in_name_scope()
    _, loading_info = load_pytorch_state_dict_in_tf2_model(
        model,
        tensors,
        tf_inputs=False,  # No call is needed to build the model.
        allow_missing_keys=True,
        output_loading_info=True,
        tf_to_pt_weight_rename=_with_tied_names(
            rename or getattr(model, "tf_to_pt_weight_rename", None), tensors, model.config
        ),
        # Where this is False, transformers raises TypeError as it makes its own error. So mismatches are collected
        # here, and the caller raises.
        ignore_mismatched_sizes=True,
    )
    return dict(loading_info)


def _with_tied_names(
    rename: Callable[[str], Sequence[str]] | None, checkpoint_names: Iterable[str], config: Any
) -> Callable[[str], tuple[str, ...]]:
    """Let a tied tensor stand for the input embedding where the checkpoint has only one of the two.

    A safetensors file holds a tied tensor once. save_pretrained keeps the embedding's name, but accelerate and
    safetensors' save_model keep the first in alphabetical order, such as lm_head.weight. For PyTorch all names are one
    parameter. In TensorFlow the variable is the embedding's.
    """
    tied = tuple(
        name
        for name in checkpoint_names
        if _SHARED_EMBEDDING.fullmatch(name) or (config.tie_word_embeddings and _TIED_HEAD.fullmatch(name))
    )

    def names_of(name: str) -> tuple[str, ...]:
        names = tuple(rename(name)) if rename else (name,)
        return names + tied if _INPUT_EMBEDDING.fullmatch(name) else names

    return names_of
