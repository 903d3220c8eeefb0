"""A ``datasets.Dataset`` whose rows a Python function joins to batches, as a source."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.arrow_columns import check_labels
from tf_hfwb.data.column_batches import ColumnBatches, ColumnSpec
from tf_hfwb.data.column_source import column_kinds
from tf_hfwb.data.computed_rows import computes_rows
from tf_hfwb.data.datasets_private import fingerprint, stored_chunks
from tf_hfwb.data.sample_source import Collator, Source, SourceOptions
from tf_hfwb.data.step_randomness import seeded_by_step, seeded_global_generators
from tf_hfwb.errors import DataError

if TYPE_CHECKING:
    import datasets

Array = npt.NDArray[Any]
Collate = Callable[[Array, int], dict[str, Array]]  # Of indices and a step.

SAMPLED_ROWS = 8


def collated_source(dataset: datasets.Dataset, data_collator: Collator, options: SourceOptions) -> Source:
    """Fetch rows by index and give them to ``data_collator``, in the order of the steps.

    What it and a transform of the dataset draw at random depends on the seed and the step. With several threads that
    is so only of collators with a generator of their own, as the other generators belong to the whole process.

    The collator is called twice on a few rows beforehand, to learn the names, types and shapes of its batches.

    Raises:
        DataError: The collator fails on these rows or returns no mapping of arrays.
    """
    fingerprint_of_all = fingerprint(dataset)  # That of the columns which are selected below is another one.
    if not computes_rows(dataset):  # A transform may need columns that the model does not know.
        kinds = column_kinds(dataset)
        columns = options.roles.columns_for_collator(kinds)
        for name in options.roles.label_columns(kinds):
            if kinds[name]:
                check_labels(name, stored_chunks(dataset, name))
        dataset = dataset.select_columns(columns)
    collate = _collating(dataset, data_collator, options)
    samples = _collate_samples(collate, dataset)
    selection = options.roles.select({name: value.dtype.kind in "if" for name, value in samples[0].items()})
    names = [*selection.inputs, *selection.labels]
    specs = {name: sampled_spec(name, [sample[name] for sample in samples]) for name in names}
    batches = ColumnBatches(collate, selection, specs)
    return Source(len(dataset), fingerprint_of_all, batches.in_numpy, batches.in_graph, is_graph=False)


def _collating(dataset: datasets.Dataset, data_collator: Collator, options: SourceOptions) -> Collate:
    seed = options.seed
    collator = seeded_by_step(data_collator, seed)

    def collate(indices: Array, step: int) -> dict[str, Array]:
        is_alone = options.threads is None or options.threads == 1
        with seeded_global_generators(seed, step) if is_alone else contextlib.nullcontext():
            batch = collator(dataset.__getitems__(indices.tolist()), step)
        return as_arrays(batch)

    return collate


def _collate_samples(collate: Collate, dataset: datasets.Dataset) -> list[dict[str, Array]]:
    """Two batches of different rows and sizes, to find axes whose size varies."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, SAMPLED_ROWS, dtype=np.int64))
    try:
        return [collate(rows[:1], 0), collate(rows, 0)]
    except Exception as error:
        has_transform = computes_rows(dataset)
        raise DataError(
            f"{'The transform of the dataset, or data_collator,' if has_transform else 'data_collator'} failed on rows "
            f"{rows.tolist()} with the columns {dataset.column_names} ({error}). Expected a callable that turns a list "
            f'of dicts into a dict of arrays. Check that it is made with return_tensors="np" and that the columns it '
            f"reads are there (remove_unused_columns=False keeps all)"
            f"{'; pass processing_class=tokenizer to pad rows of unequal length.' if has_transform else '.'}"
        ) from error


def sampled_spec(name: str, arrays: list[Array]) -> ColumnSpec:
    """The shape of a row of a column and its type, of two batches of different rows and sizes.

    Raises:
        DataError: They have different numbers of axes.
    """
    ranks = {array.ndim for array in arrays}
    if len(ranks) > 1 or 0 in ranks:
        raise DataError(
            f"data_collator returned {name!r} with {sorted(ranks)} axes for different rows. Expected the same number "
            f"every time, the first one the batch. Pad or stack the rows in the collator."
        )
    first = arrays[0]
    # Token-like axes vary sooner or later, even if the sampled rows happen to agree.
    is_tokens = first.dtype == np.int64 and first.ndim <= 3
    sizes = zip(*(array.shape[1:] for array in arrays), strict=True)
    shape = tuple(None if is_tokens or len(set(axis)) > 1 else axis[0] for axis in sizes)
    return ColumnSpec(shape, first.dtype)


def as_arrays(batch: Mapping[str, Any]) -> dict[str, Array]:
    """A collator's batch in the types that models get: int64 for integers and bools, float32 for floats."""
    return {name: as_model_type(value) for name, value in batch.items() if value is not None}


def as_model_type(value: Any) -> Array:
    """One array of such a batch."""
    array = np.asarray(value)
    if array.dtype.kind in "biu":
        return array.astype(np.int64, copy=False)
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
