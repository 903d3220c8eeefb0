"""Collators of transformers that do nothing but pad or stack, which this package does without Python in the loop."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from tf_hfwb.data.computed_rows import computes_rows
from tf_hfwb.data.padding import IGNORED_LABEL
from tf_hfwb.data.sample_source import SourceOptions


def without_padding_collator(data: Any, options: SourceOptions) -> SourceOptions:
    """The same batches without the collator, if it is one of these; a subclass may do more.

    ``DataCollatorWithPadding``, ``DataCollatorForTokenClassification``, ``DataCollatorForSeq2Seq`` without a model, and
    the default collator, whatever their ``return_tensors``. Rows that a transform computes are left to them.
    """
    collator: Any = options.data_collator
    transformers = sys.modules.get("transformers")  # Such a collator can only exist if it has been imported.
    if collator is None or transformers is None or computes_rows(data):
        return options
    if type(collator) is transformers.DefaultDataCollator or collator is transformers.default_data_collator:
        return replace(options, data_collator=None, processing_class=None, pad_to_multiple_of=None, max_length=None)
    kinds = (
        transformers.DataCollatorWithPadding,
        transformers.DataCollatorForTokenClassification,
        transformers.DataCollatorForSeq2Seq,
    )
    if type(collator) not in kinds:
        return options
    if getattr(collator, "model", None) is not None:  # It makes decoder_input_ids.
        return options
    if getattr(collator, "label_pad_token_id", IGNORED_LABEL) != IGNORED_LABEL:
        return options
    widths = {True: None, "longest": None, "max_length": collator.max_length}
    if collator.padding not in widths or (collator.padding == "max_length" and collator.max_length is None):
        return options
    return replace(
        options,
        data_collator=None,
        processing_class=collator.tokenizer,
        pad_to_multiple_of=collator.pad_to_multiple_of,
        max_length=widths[collator.padding],
    )
