"""The error of tokenizers that cannot be in the graph."""

from __future__ import annotations


class UnsupportedTokenizerError(Exception):
    """There is no construction of the tokenizer in TensorFlow's operations; the message says why."""
