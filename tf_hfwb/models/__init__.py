"""Transformers models from and to directories, in TensorFlow's and in PyTorch's format.

* ``pretrained.py``: ``from_pretrained``.
* ``pytorch_format.py``: a TF model as a directory that PyTorch loads.
* ``save_pretrained.py``: a model in a directory that stock tools open, outside of checkpoints.
"""
