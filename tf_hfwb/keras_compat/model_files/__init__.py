"""A model in the directory of a checkpoint, as stock tools open it.

* ``transformers_files.py``: a TF model of transformers; ``tokenizer_files.py``: small files beside it.
* ``keras_files.py``: a plain model, written from values that were taken earlier; ``keras_layout.py``,
  ``archive_texts.py``: what Keras would write of it, and where.
* ``keras_archive.py``: a plain model that only Keras itself can write.
"""
