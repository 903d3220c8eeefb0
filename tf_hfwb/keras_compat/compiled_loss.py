"""The loss that a plain Keras model is compiled with, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def unwrap_single(part: Any) -> Any:
    """The item of a dict, list or tuple of one item, at any depth; anything else as it is."""
    while isinstance(part, (Mapping, list, tuple)) and len(part) == 1:
        (part,) = part.values() if isinstance(part, Mapping) else part
    return part


class CompiledLoss:
    """A model's one loss function.

    Args:
        keras: The Keras of the model.
        model: The model.

    Attributes:
        name: The function's name in lower case; empty without a function, or with several.
        gives_logits: Whether the function takes logits; None if that is not known.
    """

    def __init__(self, keras: Any, model: Any) -> None:
        loss = unwrap_single(getattr(model, "loss", None))
        self._function = keras.losses.get(loss) if isinstance(loss, str) or callable(loss) else None
        function = self._function
        self.name = "" if function is None else getattr(function, "__name__", type(function).__name__).lower()
        configuration: dict[str, Any] = getattr(self._function, "get_config", dict)()
        self.gives_logits: bool | None = configuration.get("from_logits")
        if self.gives_logits is None and isinstance(loss, str):
            self.gives_logits = False

    def of_each(self, labels: Any, outputs: np.ndarray) -> np.ndarray | None:
        """The loss of each sample, without its weight; None where the function gives no loss of single samples."""
        if self._function is None:
            return None
        labels = np.asarray(labels)
        if outputs.shape[-1] == 1 and labels.ndim == outputs.ndim - 1:
            labels = labels[..., None]
        try:
            # Not the object itself, which reduces to a single number.
            values = np.asarray(getattr(self._function, "call", self._function)(labels, outputs))
        except Exception:  # A function of the user's may refuse these arrays in any way.
            return None
        if values.ndim == 0 or len(values) != len(outputs):
            return None
        return values.reshape(len(values), -1).mean(axis=1)
