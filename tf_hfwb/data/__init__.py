"""Input pipelines for ``model.fit``, ``evaluate`` and ``predict`` that resume at any step at no cost.

A pipeline is two independent halves: an *order* (step number to sample indices, a pure function of the seed) and a
*source* (sample indices to a batch).

* ``batches.py``: the public functions; ``tf_pipeline.py``: batches as a ``tf.data.Dataset``; ``numpy_pipeline.py``: as
  a ``keras.utils.PyDataset``, without TensorFlow; ``batch_workers.py``: the threads that make them in advance.
* ``sample_order.py``: the order; ``index_shuffle.py``: how it is shuffled; ``sample_source.py``: what a source is;
  ``source_choice.py``: which one data gets.
* ``length_order.py``: the order of batches of about the same length; ``sample_lengths.py``: these lengths.
* ``column_source.py``: a ``datasets.Dataset`` without Python in the loop; ``arrow_columns.py``: its Arrow buffers;
  ``padding.py``: padding in the graph; ``row_gathering.py``: the same in NumPy.
* ``stored_source.py``: one that is too large for that, read from its files batch by batch; ``stored_rows.py``: rows
  by their numbers; ``row_padding.py``: padding of such a batch.
* ``column_batches.py``: batches that Python makes, for NumPy and in the graph.
* ``collated_source.py``: with a Python collator; ``step_randomness.py``: what that draws at random;
  ``padding_collators.py``: those that only pad, which need no Python.
* ``computed_rows.py``: one that tokenises texts or decodes images as its rows are read.
* ``task_source.py``: texts or images for a task of KerasHub, as they are; ``task_columns.py``: which columns those are;
  ``task_stream.py``: texts of a stream.
* ``stream_batches.py``: a ``datasets.IterableDataset``; ``stream_blocks.py``: its rows in blocks;
  ``stream_positions.py``: where these begin, so that it can be entered again.
* ``loaders.py``: loaders of PyTorch and Grain, which are taken as they are.
* ``array_source.py``: arrays; ``tf_data.py``: a ``tf.data.Dataset``; ``unbatched_tf_data.py``: one of single samples.
* ``column_roles.py``: which columns are inputs and labels; ``data_checks.py``: whether they fit the model;
  ``input_length.py``: how long an input may be.
* ``datasets_private.py``: the only file with names that ``datasets`` does not promise.
"""

from tf_hfwb.data.batches import Batches, evaluation_batches, training_batches

__all__ = ["Batches", "training_batches", "evaluation_batches"]
