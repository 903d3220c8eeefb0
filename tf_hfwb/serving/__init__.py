"""From a model to what TensorFlow Serving runs.

* ``export.py``: ``export_for_serving``; ``export_source.py``: the model and the tokenizer to export.
* ``version_folders.py``: numbered versions below a directory, each published whole.
* ``transformers_servable.py``: the signatures of a transformers model; ``generation_signature.py``: the one that
  generates; ``detokenizer.py``: from ids to text; ``keras_servable.py``: the signatures of plain Keras models;
  ``task_servable.py``: those of tasks of KerasHub; ``served_outputs.py``: the outputs.
* ``processing_in_graph.py``: the tokenizer or image processor of a model: ``images_in_graph.py``: from the bytes of an
  image to pixels; ``tokenizers/``: from texts to ids.
* ``export_check.py``: whether the SavedModel answers as the model does; ``check_program.py``: the
  program that runs it.
* ``example_requests.py``: requests that are compared; ``warmup.py``: requests that a server runs before it serves.
"""
