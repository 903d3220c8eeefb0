"""No secret ever enters a run's config."""

from __future__ import annotations

import re
from typing import Any

_SECRET_NAME = re.compile(r"(_token|api_?key|passw(or)?d|secret|credentials?)$", re.IGNORECASE)
# Pieces of vocabulary that tokenizers and model configs call tokens.
_VOCABULARY = re.compile(r"(^|_)(bos|eos|pad|unk|sep|cls|mask|start|end|image|audio|video)_token$", re.IGNORECASE)
# What keys of Hugging Face and of W&B look like, wherever they stand.
_SECRET_VALUE = re.compile(r"^(hf_\w{20,}|[0-9a-f]{40}|wandb_v\d+_\w{20,})$")


def masked(config: Any, name: str = "") -> Any:
    """``config`` with every secret replaced by its name in angle brackets, as transformers masks its tokens.

    Example:
        >>> masked({"hub_token": "hf_abc", "pad_token": "[PAD]", "learning_rate": 5e-5})
        {'hub_token': '<HUB_TOKEN>', 'pad_token': '[PAD]', 'learning_rate': 5e-05}
    """
    if isinstance(config, dict):
        return {key: masked(value, str(key)) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [masked(value, name) for value in config]
    if not isinstance(config, str) or not config:
        return config
    named_secret = _SECRET_NAME.search(name) and not _VOCABULARY.search(name)
    return f"<{name.upper()}>" if named_secret or _SECRET_VALUE.match(config) else config
