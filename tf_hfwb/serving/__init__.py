"""From a model to what TensorFlow Serving runs.

* ``export.py``: ``export_for_serving``; ``export_source.py``: the model and the tokenizer that a source means.
* ``version_folders.py``: numbered versions below a directory, each published whole.
* ``transformers_servable.py``: the signatures of a transformers model; ``generation_signature.py``: the one that
  generates; ``keras_servable.py``: those of plain Keras models; ``served_outputs.py``: their outputs.
* ``processing_in_graph.py``: the tokenizer or image processor of a model: ``images_in_graph.py``: from the bytes of an
  image to pixels; ``tokenizers/``: from texts to ids.
* ``export_check.py``: the SavedModel gives what the model gives; ``replay_program.py``: the process that runs it.
* ``warmup.py``: requests that a server runs before it serves.
"""
