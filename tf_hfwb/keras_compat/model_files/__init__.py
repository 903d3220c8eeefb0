"""A model in the directory of a checkpoint, as stock tools open it.

* ``checkpoint_files.py``: what the files of every kind of model can do.
* ``transformers_files.py``: a TF model of transformers; ``tokenizer_files.py``: small files beside it.
* ``keras_files.py``: a plain model, written from values that were taken earlier; ``keras_layout.py``,
  ``archive_texts.py``: what Keras would write of it, and where; ``keras_weights.py``: its files of weights.
* ``preset_files.py``: a task of KerasHub, as a preset.
* ``lora_files.py``: a Keras 3 model with LoRA, without the base that is not trained; ``lora_description.py``: which
  base that is.
* ``keras_archive.py``: a plain model that only Keras itself can write.
"""
