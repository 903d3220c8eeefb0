"""The validation that the running ``fit`` was asked for."""

from __future__ import annotations

from typing import Any

from tf_hfwb.keras_compat import fit_arguments


class KerasValidation:
    """When Keras itself validates. To be made when training begins.

    Args:
        model: The model.

    Attributes:
        exists: Whether it does so at all.
    """

    def __init__(self, model: Any) -> None:
        arguments = fit_arguments(model)
        self.exists = arguments.get("validation_data") is not None
        self._frequency = arguments.get("validation_freq", 1)

    def is_expected(self, epoch: int) -> bool:
        """Whether an epoch, from 0, is one after which metrics are to be looked for: any, where there is none."""
        if not self.exists:
            return True
        frequency = self._frequency
        return (epoch + 1) % frequency == 0 if isinstance(frequency, int) else epoch + 1 in frequency
