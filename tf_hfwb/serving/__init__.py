"""From a model to what TensorFlow Serving runs.

* ``export.py``: :func:`export_for_serving`; ``source.py``: the model and the tokenizer that a source means.
* ``versions.py``: numbered versions below a directory, each published whole.
* ``outputs.py``, ``signatures.py``, ``generation.py``: what the functions of a SavedModel take and give; ``plain.py``:
  those of plain Keras models.
* ``texts.py``: from texts to padded ids in the graph; ``wordpiece.py``, ``byte_level.py``: the words' ids;
  ``code_points.py``: what a tokenizer does to each character.
* ``agreement.py``: whether the graph's ids are the tokenizer's.
* ``check.py``, ``replay.py``: the SavedModel in a process that has TensorFlow only.
* ``warmup.py``: requests that a server runs before it serves.
"""
