"""Texts or images for a task of KerasHub as a source: rows as they are, which its preprocessor gets in batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tf_hfwb.data.array_source import array_source
from tf_hfwb.data.arrow_columns import check_labels, holds_numbers, read_column
from tf_hfwb.data.collated_source import SAMPLED_ROWS, as_model_type, sampled_spec
from tf_hfwb.data.column_batches import ColumnSpec
from tf_hfwb.data.computed_rows import computes_rows
from tf_hfwb.data.data_checks import check_arrays, check_classes
from tf_hfwb.data.datasets_private import fingerprint, stored_chunks, stored_columns
from tf_hfwb.data.sample_source import Source, SourceOptions
from tf_hfwb.data.task_columns import IMAGE, NUMBERS, TEXT, TaskColumns, task_columns
from tf_hfwb.errors import DataError
from tf_hfwb.keras_compat.hub_tasks import is_prepared, prepares_inputs
from tf_hfwb.validation.installed_packages import check_packages

if TYPE_CHECKING:
    import datasets
    import tensorflow as tf

Array = npt.NDArray[Any]
Read = Callable[[list[str], Array], list[Array]]  # Columns of some rows, by the numbers of these.


def has_raw_columns(model: Any, data: Any) -> bool:
    """Whether data with columns is meant for the preprocessor of a task: not all inputs of its graph are there."""
    if not prepares_inputs(model):
        return False
    names = data if isinstance(data, Mapping) else getattr(data, "column_names", None)
    return names is not None and not is_prepared(model, dict.fromkeys(names))


def check_tensorflow(model: Any) -> None:
    """Ask for TensorFlow, over whose datasets KerasHub maps preprocessors.

    Raises:
        MissingPackageError: It is not installed.
    """
    check_packages(f"{type(model).__name__} on raw texts or images", "tensorflow", extra="tf_hfwb[tensorflow]")


def columns_in_memory(data: Mapping[str, Any], options: SourceOptions) -> Source:
    """Columns as lists or arrays by their names.

    Raises:
        DataError: A column cannot be used.
    """
    columns = {name: np.asarray(value) for name, value in data.items()}
    kinds = {name: _kind_of_array(value) for name, value in columns.items()}
    chosen = task_columns(options.model, options.roles, kinds)
    arranged = chosen.arrange({name: columns[name] for name in (*chosen.inputs, *chosen.labels)})
    check_arrays(options.model, arranged, options.is_for_loss)
    return array_source(arranged)


def _kind_of_array(values: Array) -> str | None:
    if values.dtype.kind in "SUO":
        return TEXT
    return IMAGE if values.ndim == 4 else NUMBERS


def rows_source(dataset: datasets.Dataset, options: SourceOptions) -> Source:
    """Rows of a ``datasets.Dataset``, read batch by batch; images of any size where the preprocessor resizes them.

    Raises:
        DataError: A column cannot be used.
    """
    kinds = _kinds_of_values(dataset[0]) if computes_rows(dataset) else _kinds_of_features(dataset)
    columns = task_columns(options.model, options.roles, kinds)
    names = [*columns.inputs, *columns.labels]
    all_rows = fingerprint(dataset)  # That of selected columns is another one.
    if not computes_rows(dataset):
        _check_columns(dataset, columns, options)
        dataset = dataset.select_columns(names)
    read = _reader(dataset, names)
    sampled = np.unique(np.linspace(0, len(dataset) - 1, SAMPLED_ROWS, dtype=np.int64))
    is_image = kinds[columns.inputs[0]] == IMAGE
    size = options.model.preprocessor.image_size if is_image else None
    others = [name for name in names if size is None or name != columns.inputs[0]]
    samples = [dict(zip(others, read(others, rows), strict=True)) for rows in (sampled[:1], sampled)]
    specs = {name: sampled_spec(name, [sample[name] for sample in samples]) for name in others}
    resized = None if size is None else _Resized(columns.inputs[0], read, options.model.preprocessor)
    return Source(
        len(dataset),
        all_rows,
        lambda: _numpy_gatherer(read, columns, names),
        lambda: _graph_gatherer(read, columns, specs, resized),
        is_graph=False,
    )


def _kinds_of_features(dataset: datasets.Dataset) -> dict[str, str | None]:
    import datasets
    import pyarrow as pa  # type: ignore[import-untyped]  # pyarrow ships no types.

    def kind_of(name: str) -> str | None:
        if isinstance(dataset.features[name], datasets.Image):
            return IMAGE
        stored = dataset.data.schema.field(name).type
        if pa.types.is_string(stored) or pa.types.is_large_string(stored):
            return TEXT
        return NUMBERS if holds_numbers(stored) else None

    return {name: kind_of(name) for name in dataset.column_names}


def _kinds_of_values(row: Mapping[str, Any]) -> dict[str, str | None]:
    def kind_of(value: Any) -> str | None:
        if isinstance(value, str):
            return TEXT
        return IMAGE if np.ndim(value) == 3 else NUMBERS

    return {
        name: kind_of(_as_array(value)) if hasattr(value, "size") else kind_of(value) for name, value in row.items()
    }


def _check_columns(dataset: datasets.Dataset, columns: TaskColumns, options: SourceOptions) -> None:
    for name in columns.inputs:
        missing = sum(chunk.null_count for chunk in stored_chunks(dataset, name))
        if missing:
            raise DataError(
                f"Column {name!r} has {missing} rows without a value (None). Expected a text or an image in every row. "
                f"Drop them with dataset.filter(lambda row: row[{name!r}] is not None)."
            )
    for name in columns.labels:
        check_labels(name, stored_chunks(dataset, name))
    if options.is_for_loss and len(columns.labels) == 1:
        (label,) = columns.labels
        check_classes(options.model, label, read_column(label, stored_columns(dataset, [label]).column(label)).values)


def _reader(dataset: datasets.Dataset, names: list[str]) -> Read:
    def read(wanted: list[str], indices: Array) -> list[Array]:
        rows = dataset.__getitems__(np.atleast_1d(indices).tolist())
        return [_stack(name, [row[name] for row in rows]) for name in wanted]

    return read


def _stack(name: str, values: list[Any]) -> Array:
    if isinstance(values[0], str):
        return np.array([value.encode() for value in values], object)
    arrays = [_as_array(value) for value in values]
    if len({array.shape for array in arrays}) > 1:
        raise DataError(
            f"Column {name!r} has rows of the shapes {sorted({array.shape for array in arrays})}. Expected one shape, "
            "as the preprocessor does not resize images. Set preprocessor.image_size, or resize with dataset.map."
        )
    return as_model_type(np.stack(arrays))


def _as_array(value: Any) -> Array:
    """A number, an array, or the pixels of an image of Pillow, which has a mode."""
    return np.asarray(value.convert("RGB") if hasattr(value, "mode") else value)


@dataclass(frozen=True)
class _Resized:
    """Images of any size, brought to that of the preprocessor, by its own layer.

    Attributes:
        name: The column.
        read: Reads rows.
        preprocessor: That of the task.
    """

    name: str
    read: Read
    preprocessor: Any

    def gather(self, indices: tf.Tensor) -> tf.Tensor:
        """The images of a batch."""
        import tensorflow as tf

        def read_one(index: Array) -> Array:
            return self.read([self.name], index)[0][0].astype(np.float32)

        def resize(index: tf.Tensor) -> tf.Tensor:
            pixels = tf.ensure_shape(tf.numpy_function(read_one, [index], tf.float32), [None, None, 3])
            return tf.cast(self.preprocessor.image_converter.resizing(pixels), tf.float32)

        size = [*self.preprocessor.image_size, 3]
        images = tf.map_fn(resize, indices, fn_output_signature=tf.TensorSpec(size, tf.float32))
        return tf.ensure_shape(images, [indices.shape[0], *size])


def _numpy_gatherer(read: Read, columns: TaskColumns, names: list[str]) -> Callable[[Array, int], Any]:
    return lambda indices, step: columns.arrange(dict(zip(names, read(names, indices), strict=True)))


def _graph_gatherer(
    read: Read, columns: TaskColumns, specs: Mapping[str, ColumnSpec], resized: _Resized | None
) -> Callable[[tf.Tensor, tf.Tensor], Any]:
    import tensorflow as tf

    names = list(specs)

    def gather(indices: tf.Tensor, step: tf.Tensor) -> Any:
        batch = {} if resized is None else {resized.name: resized.gather(indices)}
        if names:
            tensors = [specs[name].in_graph(indices.shape[0]) for name in names]
            values = tf.numpy_function(lambda rows: read(names, rows), [indices], [spec.dtype for spec in tensors])
            for name, spec, value in zip(names, tensors, values, strict=True):
                batch[name] = tf.ensure_shape(value, spec.shape)
        return columns.arrange(batch)

    return gather
