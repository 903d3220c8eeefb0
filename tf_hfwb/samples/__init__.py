"""A few samples of an evaluation set, as a person reads them: the input, the label, what the model says of it.

* ``chosen.py``: which samples, the same at every evaluation.
* ``tokenized.py``: a raw ``datasets.Dataset`` as the model's inputs; ``columns.py``: which of its columns;
  ``labels.py``: missing labels and sets of classes.
* ``texts.py``, ``pictures.py``: token ids and pixels as texts and images.
* ``task.py``: what a task is; one file each for ``classes``, ``tags``, ``answers``, ``language`` and ``arrays``.
* ``predicted.py``: all of it together.
"""
