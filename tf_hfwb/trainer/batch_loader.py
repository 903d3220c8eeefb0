"""The batches of a dataset as NumPy arrays, where transformers has a ``DataLoader`` of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tf_hfwb.data import Batches
from tf_hfwb.errors import DataError


@dataclass(frozen=True)
class BatchLoader:
    """Batches that can be gone through again and again.

    Attributes:
        dataset: The data that they are made of.
        batches: The batches, as Keras takes them.

    Example:
        >>> import numpy as np
        >>> from tf_hfwb.data import evaluation_batches
        >>> data = {"x": np.arange(3)}, np.arange(3)
        >>> [batch["labels"].tolist() for batch in BatchLoader(data, evaluation_batches(data, batch_size=2))]
        [[0, 1], [2]]
    """

    dataset: Any
    batches: Batches

    def __len__(self) -> int:
        """The number of batches; of an endless stream those of an epoch."""
        if self.batches.steps_per_epoch is None:
            raise TypeError("The tf.data.Dataset does not tell how many batches it has.")
        return self.batches.steps_per_epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each batch as a dict of arrays: inputs (``"inputs"`` without a name), ``"labels"``, ``"sample_weight"``."""
        for batch in self.batches.dataset.as_numpy_iterator():
            inputs, labels, weights = (*batch, None, None)[:3] if isinstance(batch, tuple) else (batch, None, None)
            arrays = dict(inputs) if isinstance(inputs, Mapping) else {"inputs": inputs}
            if isinstance(labels, Mapping):
                arrays |= labels
            elif labels is not None:
                arrays["labels"] = labels
            yield arrays if weights is None else {**arrays, "sample_weight": weights}


def as_loader(dataloader: Any) -> BatchLoader:
    """The loader, if it is one of a trainer's.

    Raises:
        DataError: It is something else.
    """
    if not isinstance(dataloader, BatchLoader):
        raise DataError(
            f"evaluation_loop got a {type(dataloader).__name__}. Expected what get_eval_dataloader or "
            f"get_test_dataloader returns. Call one of them with your dataset, which may be a tf.data.Dataset."
        )
    return dataloader
