"""A ``datasets.Dataset`` that computes its rows as they are read, by ``set_transform`` or ``with_transform``.

So texts are tokenised and images are decoded and augmented on the way. The collator is the one that transformers'
``Trainer`` takes where it is given none.
"""

from __future__ import annotations

import sys
from typing import Any

from tf_hfwb.data.sample_source import Collator, SourceOptions


def computes_rows(data: Any) -> bool:
    """Whether it is such a dataset."""
    datasets = sys.modules.get("datasets")  # Such data can only exist if it has been imported.
    return datasets is not None and isinstance(data, datasets.Dataset) and data.format["type"] == "custom"


def default_collator(options: SourceOptions) -> Collator:
    """Pads by the tokenizer in ``processing_class``; without one, stacks rows of equal sizes."""
    import transformers

    given = options.processing_class
    if not isinstance(given, transformers.PreTrainedTokenizerBase | transformers.SequenceFeatureExtractor):
        return transformers.DefaultDataCollator(return_tensors="np")
    return transformers.DataCollatorWithPadding(
        given,
        padding=True if options.max_length is None else "max_length",
        max_length=options.max_length,
        pad_to_multiple_of=options.pad_to_multiple_of,
        return_tensors="np",
    )
