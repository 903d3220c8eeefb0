"""Batches as a ``tf.data.Dataset``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tf_hfwb.data.batch_workers import BatchWorkers
from tf_hfwb.data.sample_order import Order
from tf_hfwb.data.sample_source import Source

if TYPE_CHECKING:
    import tensorflow as tf


def tf_pipeline(
    source: Source, order: Order, start_step: int, num_epochs: int | None, workers: BatchWorkers
) -> tf.data.Dataset:
    """The batches of all steps from one on."""
    import tensorflow as tf

    gather = source.in_graph()

    def batch(step: tf.Tensor) -> Any:
        return gather(order.indices(step), step)

    # Unless threads are asked for, a Python collator runs for one batch at a time: most would only contend for the
    # interpreter, and change the order of its random numbers.
    dataset = order.steps(start_step, num_epochs).map(
        batch, num_parallel_calls=tf.data.AUTOTUNE if source.is_graph else workers.threads
    )
    options = tf.data.Options()
    options.deterministic = True
    if workers.threads is not None and not source.is_graph:
        # Else TensorFlow has a thread for each core, however many of them wait for files or the network.
        options.threading.private_threadpool_size = workers.threads + 1
    # There is nothing to tune. With autotuning, a fit may take twice as long to return: TensorFlow waits for the tuning
    # thread, which sleeps for longer and longer times and is not woken.
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return prefetched(dataset.with_options(options), workers)


def tf_stream(stream: tf.data.Dataset, workers: BatchWorkers) -> tf.data.Dataset:
    """The batches of a stream."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return prefetched(stream.with_options(options), workers)


def prefetched(dataset: tf.data.Dataset, workers: BatchWorkers) -> tf.data.Dataset:
    """The same batches, made in advance."""
    import tensorflow as tf

    return dataset.prefetch(workers.buffer or tf.data.AUTOTUNE)
