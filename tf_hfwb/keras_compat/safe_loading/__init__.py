"""Loading plain models that somebody else may have written.

* ``keras_loading.py``: a plain model of tf_keras or Keras 3 from its files.
* ``preset_loading.py``: a preset of KerasHub from its directory; ``json_files.py``: files that are JSON.
* ``lora_loading.py``: a Keras 3 model of a LoRA training, from its adapters and their base.
* ``safe_config.py``: what a configuration may name; ``allowed_names.py`` and ``tensorflow_operations.py`` list it.
* ``archive_safety.py``, ``hdf5_safety.py``: what may be in an archive, and in a file of weights.
"""
