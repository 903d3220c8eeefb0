"""The form into which every kind of data is brought: samples that can be fetched by index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from tf_hfwb.data.arrow_columns import ColumnLayout
from tf_hfwb.data.column_roles import Roles, Selection
from tf_hfwb.data.padding import PadRules

if TYPE_CHECKING:
    import tensorflow as tf

Array = npt.NDArray[Any]
Collator = Callable[[list[dict[str, Any]]], Mapping[str, Any]]


@dataclass(frozen=True)
class Source:
    """Samples that can be fetched by index.

    Attributes:
        num_samples: How many there are.
        fingerprint: Changes when the samples change.
        in_numpy: Makes the function from indices (int64 [batch]) and the number of the step, which seeds what is random
            in the batch, to the batch.
        in_graph: Makes the same function of tensors, callable inside a graph.
        is_graph: Whether that is graph operations only, so that several batches may be made at once.
    """

    num_samples: int
    fingerprint: str
    in_numpy: Callable[[], Callable[[Array, int], Any]]
    in_graph: Callable[[], Callable[[tf.Tensor, tf.Tensor], Any]]
    is_graph: bool = True


@dataclass(frozen=True)
class SourceOptions:
    """How batches are made of samples; the arguments of ``training_batches``.

    Attributes:
        model: The model that the data must fit.
        roles: Which columns are inputs and labels.
        processing_class: The tokenizer or processor, whose pad values are used.
        data_collator: Makes a batch of rows, in Python; None for the package's own padding.
        pad_to_multiple_of: Padded widths are rounded up to a multiple of this.
        max_length: The width of every padded batch; None for that of its longest row.
        keep_in_memory: Whether columns are read into memory; None to decide by their size.
        seed: Seeds a collator's randomness, together with the step.
        threads: Those that run a collator at once; None for a single one.
        is_for_loss: Whether the labels must be what the model's loss takes.
    """

    model: Any
    roles: Roles
    processing_class: Any
    data_collator: Collator | None
    pad_to_multiple_of: int | None
    max_length: int | None
    keep_in_memory: bool | None
    seed: int
    threads: int | None
    is_for_loss: bool = True

    def wants_mask(self, selection: Selection, rules: PadRules) -> bool:
        """Whether an ``attention_mask`` is to be made, because the columns lack it."""
        names = (*selection.inputs, *selection.labels)
        is_missing = "input_ids" in selection.inputs and "attention_mask" not in names
        return rules.has_mask and is_missing and self.roles.accepts("attention_mask")

    def with_mask(
        self, selection: Selection, rules: PadRules, layouts: Mapping[str, ColumnLayout]
    ) -> tuple[Selection, dict[str, ColumnLayout]]:
        """The columns with such an ``attention_mask``, if one is to be made."""
        if not self.wants_mask(selection, rules):
            return selection, dict(layouts)
        mask = replace(layouts["input_ids"], is_float=False)
        return replace(selection, inputs=(*selection.inputs, "attention_mask")), {**layouts, "attention_mask": mask}
