"""Rows by their numbers, straight from Arrow: the same as Arrow's own, whatever the type and wherever they lie."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tf_hfwb.data.arrow_columns import ColumnLayout
from tf_hfwb.data.stored_rows import StoredRows

pytestmark = pytest.mark.core

COLUMNS = {
    "integers": ([[n] for n in range(9)], pa.list_(pa.uint8())),
    "scalars": (list(range(9)), pa.int16()),
    "bools": ([[n % 2 == 0, True] for n in range(9)], pa.list_(pa.bool_(), 2)),
    "ragged": ([list(range(n % 4)) for n in range(9)], pa.list_(pa.int64())),
    "large": ([list(range(n % 4 + 1)) for n in range(9)], pa.large_list(pa.float32())),
    "ragged bools": ([[True] * (n % 3) for n in range(9)], pa.list_(pa.bool_())),
    "choices": ([[[n] * (n % 3), [n] * (n % 2 + 1)] for n in range(9)], pa.list_(pa.list_(pa.int32()))),
    "fixed choices": ([[[n] * (n % 3), [n] * (n % 2 + 1)] for n in range(9)], pa.list_(pa.list_(pa.int32()), 2)),
    "points": ([[[n, 1]] * (n % 3 + 1) for n in range(9)], pa.list_(pa.list_(pa.int32(), 2))),
    "images": (np.arange(9 * 6).reshape(9, 2, 3).tolist(), pa.list_(pa.list_(pa.float64()))),
    "empty lists": ([[[]] if n % 2 else [[n, n]] for n in range(9)], pa.list_(pa.list_(pa.int32()))),
}


def pieces_of(rows, kind) -> list[pa.Array]:
    """Chunks of unequal sizes, two of them cut out of larger arrays."""
    first, second = pa.array(rows[:2], kind), pa.array([*rows[:3], *rows[2:7], *rows[:1]], kind)
    return [first, second.slice(3, 5), pa.array(rows, kind).slice(7)]


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("numbers", [[4], [8, 0, 3, 3, 6, 2, 1], list(range(9))])
def test_rows_are_arrows_own(name, numbers):
    rows, kind = COLUMNS[name]
    chunks = pieces_of(rows, kind)
    assert [row for chunk in chunks for row in chunk.to_pylist()] == rows
    layout = ColumnLayout.of(name, chunks)
    found = StoredRows(chunks, layout).read(np.array(numbers))
    expected = layout.read(name, pa.array([rows[number] for number in numbers], kind))
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.values.shape == expected.values.shape
    if expected.lengths is None:
        assert found.lengths is None
    else:
        np.testing.assert_array_equal(found.lengths, expected.lengths)


def test_rows_that_are_not_read_may_be_null():
    chunks = [pa.array([[1, 2], None, [3], [None]], pa.list_(pa.int64()))]
    layout = ColumnLayout.of("x", [pa.array([[1, 2], [3]], pa.list_(pa.int64()))])
    found = StoredRows(chunks, layout).read(np.array([2, 0]))
    assert (found.values.tolist(), found.values.dtype, found.lengths.tolist()) == ([3, 1, 2], np.int64, [1, 2])
