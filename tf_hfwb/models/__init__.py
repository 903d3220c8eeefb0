"""Transformers models from and to directories, in TensorFlow's and in PyTorch's format.

* ``pretrained.py``: ``from_pretrained``; ``pretrained_config.py``: the class and the configuration;
  ``weight_files.py``: where the weights are; ``pytorch_weights.py``: weights in PyTorch's format into a TF model.
* ``pytorch_format.py``: a TF model written as a directory that PyTorch loads.
* ``save_pretrained.py``: a model in a directory that stock tools open, outside of checkpoints.
"""
