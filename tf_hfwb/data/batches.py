"""``training_batches`` and ``evaluation_batches``: any supported data as batches for Keras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tf_hfwb.data.batch_workers import BatchWorkers
from tf_hfwb.data.column_roles import Roles
from tf_hfwb.data.length_order import LengthGroupedOrder
from tf_hfwb.data.loaders import is_loader
from tf_hfwb.data.numpy_pipeline import numpy_loader, numpy_pipeline, numpy_stream
from tf_hfwb.data.padding_collators import without_padding_collator
from tf_hfwb.data.sample_order import Order
from tf_hfwb.data.sample_source import Collator, Source, SourceOptions
from tf_hfwb.data.source_choice import source_of
from tf_hfwb.data.stream_batches import StreamBatches, is_stream
from tf_hfwb.data.stream_blocks import StreamOrder
from tf_hfwb.data.stream_positions import StreamPositions
from tf_hfwb.data.tf_data import is_endless, is_tf_data, num_batches, repeat_passes
from tf_hfwb.data.tf_pipeline import prefetched, tf_pipeline, tf_stream
from tf_hfwb.errors import DataError
from tf_hfwb.validation.argument_checks import as_integer
from tf_hfwb.validation.installed_packages import has_tensorflow

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

    from tf_hfwb.keras_compat.numpy_batches import NumPyBatches


@dataclass(frozen=True)
class Batches:
    """Batches for Keras, and what is known about them.

    Attributes:
        dataset: Yields ``inputs``, ``(inputs, labels)`` or ``(inputs, labels, sample_weight)``; the first axis of every
            tensor is the batch. Where TensorFlow is not installed it is a ``keras.utils.PyDataset`` of NumPy arrays.
        steps_per_epoch: Batches in one epoch. None when unknown: a ``tf.data.Dataset`` without a length.
        num_samples: Samples in the data. None for a ``tf.data.Dataset``.
        fingerprint: Changes with the data: that of a ``datasets.Dataset``; a hash over shapes, types and some rows of
            arrays; None for a ``tf.data.Dataset``.
    """

    dataset: tf.data.Dataset | NumPyBatches
    steps_per_epoch: int | None
    num_samples: int | None
    fingerprint: str | None


def training_batches(
    data: Any,
    batch_size: int,
    *,
    model: Any = None,
    processing_class: Any = None,
    data_collator: Collator | None = None,
    seed: int = 42,
    shuffle: bool = True,
    drop_remainder: bool = False,
    num_epochs: int | None = None,
    start_step: int = 0,
    label_names: Sequence[str] | None = None,
    remove_unused_columns: bool = True,
    pad_to_multiple_of: int | None = None,
    max_length: int | None = None,
    keep_in_memory: bool | None = None,
    group_by_length: bool = False,
    length_column_name: str = "length",
    gradient_accumulation_steps: int = 1,
    num_workers: int = 0,
    prefetch_factor: int | None = None,
    stream_positions: StreamPositions | None = None,
) -> Batches:
    """Make shuffled batches for ``model.fit`` that can start at any step.

    The epochs follow each other in one stream of steps, so call
    ``model.fit(batches.dataset, steps_per_epoch=batches.steps_per_epoch, epochs=...)``. The order is computed from the
    seed: starting at step 1,000,000 takes as long as starting at 0, in a new process too.

    Guarantees: every sample once in each epoch (without ``drop_remainder``); another order in each epoch; the same
    order for the same seed, number of samples and batch size; padding as transformers' data collators do it.
    Up to 256 MiB of the used columns of a ``datasets.Dataset`` are read into memory; of larger data each batch is read
    from its memory-mapped files, with the same result. What a ``data_collator`` or a transform of the dataset draws
    from ``random`` and ``numpy.random`` depends on the seed and the step, so that a resumed training sees the masks it
    would have seen; other libraries' generators are not seeded. A ``tf.data.Dataset`` keeps its own batches and order.
    Where TensorFlow is not installed, the same batches come as a ``keras.utils.PyDataset`` of NumPy arrays.

    Example:
        >>> import numpy as np
        >>> x, y = np.arange(5.0), np.arange(5)
        >>> batches = training_batches((x, y), batch_size=2, num_epochs=2)
        >>> batches.steps_per_epoch
        3
        >>> [labels.tolist() for _, labels in batches.dataset.as_numpy_iterator()]
        [[0, 1], [3, 4], [2], [3, 4], [2, 1], [0]]
        >>> resumed = training_batches((x, y), batch_size=2, num_epochs=2, start_step=4)
        >>> [labels.tolist() for _, labels in resumed.dataset.as_numpy_iterator()]
        [[2, 1], [0]]

    Args:
        data: One of:

            - ``datasets.Dataset`` with tokenised or numeric columns. The columns ``label`` and ``label_ids`` become
              ``labels``; integers and bools become int64, floats float32; rows of unequal length are padded to the
              longest of the batch.
              With ``set_transform`` or ``with_transform`` the rows are what the transform makes of any columns: texts
              are tokenised, images are decoded and augmented as they are read.
            - ``datasets.IterableDataset``: the same columns. Blocks of 1000 rows are shuffled, each pass anew, and
              ``set_epoch`` is called before each pass; ``fit`` needs ``steps_per_epoch``, as its length is unknown.
              Starting at a late step reads the rows before it, unless ``stream_positions`` knows a block near it.
            - Arrays: ``x``, ``(x, y)`` or ``(x, y, sample_weight)``, each an array [num_samples, ...], or a dict or
              tuple of them. float64 becomes float32.
            - ``tf.data.Dataset``, already batched: used as it is, without ``batch_size``, ``shuffle`` and
              ``drop_remainder``, and repeated for ``num_epochs`` when its length is known. Without a known length it is
              not repeated (Keras starts it anew for each epoch) and every pass skips ``start_step`` batches: give it a
              length with ``tf.data.experimental.assert_cardinality`` to resume in a later epoch.
        batch_size: Samples per batch over all replicas, >= 1.
        model: Tells the names of inputs and labels: a transformers TF model or a Keras functional or Sequential model.
            None or another model: every numeric column besides the labels is an input. A Keras model with a single
            input gets it as a tensor, all others get a dict.
        processing_class: The tokenizer, whose pad values and padding side are used; it also decides whether a missing
            ``attention_mask`` is made.
        data_collator: From a list of rows (dicts) to a dict of arrays, in Python instead of the graph; make
            transformers' collators with ``return_tensors="np"``. For datasets of that library only. All padding is its
            own: ``processing_class``, ``pad_to_multiple_of`` and ``max_length`` are not used. In the place of those of
            transformers that only pad, this package pads, as they say.
        seed: Decides the order.
        shuffle: False keeps the samples' own order in every epoch.
        drop_remainder: Leave out the partial batch at the end of each epoch.
        num_epochs: Length of the stream, >= 1. None: endless.
        start_step: Batches to leave out at the start, >= 0, counted over all epochs.
        label_names: The label columns. Default: those of the transformers model, else ``labels``, ``start_positions``
            and ``end_positions``. One label column is given to the model as a tensor, several as a dict.
        remove_unused_columns: Leave out columns that are neither inputs nor labels. False: keep all.
        pad_to_multiple_of: Round padded widths up to a multiple of this, so that there are few shapes.
        max_length: Pad every batch to this width, >= 1, so that there is one shape, as XLA and TPUs want it. None: to
            the longest row of the batch.
        keep_in_memory: Whether to read the used columns of a ``datasets.Dataset`` into memory, which is quickest.
            False: read each batch from the dataset's Arrow files. None: in memory up to 256 MiB of them.
        group_by_length: Make batches of samples of about the same length, the longest first, so that less is padded.
            For a ``datasets.Dataset`` only.
        length_column_name: A column with the lengths, for ``group_by_length``. Without it they are those of the main
            input of ``processing_class``, or of ``input_ids``.
        gradient_accumulation_steps: Batches that make one step, >= 1: ``group_by_length`` groups whole steps.
        num_workers: Threads that run ``data_collator``; 0 for a single one, which is enough unless it waits or
            decodes. Without TensorFlow they make batches of any data; with 0 a batch is made when Keras asks for it. A
            stream has one in any case. The order of the batches stays the same. With more than one, random
            numbers depend on the step only in collators with a generator of their own, as transformers' that mask
            words are.
        prefetch_factor: Batches that each of these threads makes in advance, >= 1. None: as TensorFlow does; without
            it, 2.
        stream_positions: Where blocks of a ``datasets.IterableDataset`` begin, as far as they are known, so that a late
            ``start_step`` need not read all rows before; those that the pipeline comes to are added.

    Returns:
        The batches, with ``steps_per_epoch`` for ``fit``.

    Raises:
        DataError: The data or an argument cannot be used; the message says what to do.

    Source: transformers' ``prepare_tf_dataset`` and ``Trainer`` for columns, ``DataCollatorWithPadding``,
    ``DataCollatorForTokenClassification`` and ``DataCollatorForSeq2Seq`` for padding, ``LengthGroupedSampler`` for
    ``group_by_length``.
    """
    batch_size = _integer("batch_size", batch_size, minimum=1)
    start_step = _integer("start_step", start_step, minimum=0)
    num_epochs = _integer_or_none("num_epochs", num_epochs)
    step_batches = _integer("gradient_accumulation_steps", gradient_accumulation_steps, minimum=1)
    workers = _workers(num_workers, prefetch_factor)
    lengths = _lengths(data, length_column_name, processing_class) if group_by_length else None
    if is_tf_data(data):
        return _repeated(data, num_epochs, start_step, workers)
    options = SourceOptions(
        model,
        Roles.of(model, label_names, remove_unused_columns),
        processing_class,
        data_collator,
        _integer_or_none("pad_to_multiple_of", pad_to_multiple_of),
        _integer_or_none("max_length", max_length),
        keep_in_memory,
        seed,
        workers.threads,
    )
    options, order_seed = without_padding_collator(data, options), seed if shuffle else None
    if is_stream(data):
        stream_order = StreamOrder(batch_size, order_seed, drop_remainder, num_epochs)
        return _stream(StreamBatches(data, stream_order, options, start_step, stream_positions), num_epochs, workers)
    source = source_of(data, options)
    order = Order(source.num_samples, batch_size, order_seed, drop_remainder)
    return _batches(source, _grouped(order, lengths, step_batches), start_step, num_epochs, workers)


def evaluation_batches(
    data: Any,
    batch_size: int,
    *,
    model: Any = None,
    processing_class: Any = None,
    data_collator: Collator | None = None,
    label_names: Sequence[str] | None = None,
    remove_unused_columns: bool = True,
    pad_to_multiple_of: int | None = None,
    max_length: int | None = None,
    keep_in_memory: bool | None = None,
    is_for_loss: bool = True,
    num_workers: int = 0,
    prefetch_factor: int | None = None,
) -> Batches:
    """Make batches of every sample once and in order, for ``model.evaluate`` and ``model.predict``.

    The last batch may be partial. The data and the arguments are those of :func:`training_batches`.

    Example:
        >>> import numpy as np
        >>> batches = evaluation_batches({"a": np.arange(3)}, batch_size=2)
        >>> [inputs["a"].tolist() for inputs in batches.dataset.as_numpy_iterator()]
        [[0, 1], [2]]

    Args:
        data: As in :func:`training_batches`. A ``tf.data.Dataset``, a loader of PyTorch or Grain and a
            ``keras.utils.PyDataset`` are used as they are.
        batch_size: Samples per batch over all replicas, >= 1.
        model: As in :func:`training_batches`.
        processing_class: As in :func:`training_batches`.
        data_collator: As in :func:`training_batches`.
        label_names: As in :func:`training_batches`.
        remove_unused_columns: As in :func:`training_batches`.
        pad_to_multiple_of: As in :func:`training_batches`.
        max_length: As in :func:`training_batches`.
        keep_in_memory: As in :func:`training_batches`.
        is_for_loss: Whether the labels must be what the model's loss takes.
        num_workers: As in :func:`training_batches`.
        prefetch_factor: As in :func:`training_batches`.

    Returns:
        The batches; ``dataset`` ends after one epoch.

    Raises:
        DataError: The data or an argument cannot be used; the message says what to do.

    Source: as :func:`training_batches`.
    """
    batch_size = _integer("batch_size", batch_size, minimum=1)
    workers = _workers(num_workers, prefetch_factor)
    if is_loader(data):
        batches = numpy_loader(data)
        return Batches(batches, batches.num_batches, num_samples=None, fingerprint=None)
    if is_tf_data(data):
        if is_endless(data):
            raise DataError(
                "An endless tf.data.Dataset was given for evaluation. Expected one that ends. Cut it with take(n)."
            )
        return _of_tf_data(data, num_batches(data), workers)
    options = SourceOptions(
        model,
        Roles.of(model, label_names, remove_unused_columns),
        processing_class,
        data_collator,
        _integer_or_none("pad_to_multiple_of", pad_to_multiple_of),
        _integer_or_none("max_length", max_length),
        keep_in_memory,
        0,
        workers.threads,
        is_for_loss,
    )
    options = without_padding_collator(data, options)
    if is_stream(data):
        return _stream(StreamBatches(data, StreamOrder(batch_size), options), 1, workers)
    source = source_of(data, options)
    return _batches(source, Order(source.num_samples, batch_size), 0, 1, workers)


def _lengths(data: Any, length_column_name: str, processing_class: Any) -> npt.NDArray[Any]:
    from tf_hfwb.data.sample_lengths import sample_lengths

    return sample_lengths(data, length_column_name, processing_class)


def _grouped(order: Order, lengths: npt.NDArray[Any] | None, step_batches: int) -> Order:
    if lengths is None:
        return order
    return LengthGroupedOrder.of(lengths, order.batch_size, order.seed, order.drop_remainder, step_batches)


def _batches(source: Source, order: Order, start_step: int, num_epochs: int | None, workers: BatchWorkers) -> Batches:
    _check_start(start_step, num_epochs, order.steps_per_epoch)
    make = tf_pipeline if has_tensorflow() else numpy_pipeline
    dataset = make(source, order, start_step, num_epochs, workers)
    return Batches(dataset, order.steps_per_epoch, source.num_samples, source.fingerprint)


def _stream(stream: StreamBatches, num_epochs: int | None, workers: BatchWorkers) -> Batches:
    if has_tensorflow():
        dataset = tf_stream(stream.in_graph(), workers)
    else:
        dataset = numpy_stream(stream.in_numpy, is_endless=num_epochs is None)
    return Batches(dataset, None, num_samples=None, fingerprint=None)


def _repeated(data: tf.data.Dataset, num_epochs: int | None, start_step: int, workers: BatchWorkers) -> Batches:
    steps_per_epoch = num_batches(data)
    _check_start(start_step, num_epochs, steps_per_epoch)
    return _of_tf_data(repeat_passes(data, num_epochs, start_step), steps_per_epoch, workers)


def _of_tf_data(dataset: tf.data.Dataset, steps_per_epoch: int | None, workers: BatchWorkers) -> Batches:
    return Batches(prefetched(dataset, workers), steps_per_epoch, num_samples=None, fingerprint=None)


def _workers(num_workers: int, prefetch_factor: int | None) -> BatchWorkers:
    threads = _integer("num_workers", num_workers, minimum=0)
    if prefetch_factor is not None:
        prefetch_factor = _integer("prefetch_factor", prefetch_factor, minimum=1)
    return BatchWorkers.of(threads, prefetch_factor)


def _integer_or_none(name: str, value: int | None) -> int | None:
    return None if value is None else _integer(name, value, minimum=1)


def _integer(name: str, value: int, minimum: int) -> int:
    number = as_integer(value)
    if number is None or number < minimum:
        raise DataError(f"{name}={value!r} cannot be used. Expected an integer >= {minimum}. Pass such a number.")
    return number


def _check_start(start_step: int, num_epochs: int | None, steps_per_epoch: int | None) -> None:
    if num_epochs is None or steps_per_epoch is None:
        return
    total = num_epochs * steps_per_epoch
    if start_step > total:
        raise DataError(
            f"start_step={start_step} lies behind the end. Expected at most {total}: {num_epochs} epochs of "
            f"{steps_per_epoch} steps. Raise num_epochs, or check that data and batch_size are unchanged."
        )
