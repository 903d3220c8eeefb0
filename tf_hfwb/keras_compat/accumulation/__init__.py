"""The gradients of several batches make one update.

* ``batch_groups.py``: which batches of an epoch belong to which update; ``batch_weights.py``: how much each weighs.
* ``gradient_accumulation.py``: an execution of the train function as one update; ``tensorflow_accumulation.py``,
  ``jax_accumulation.py``, ``torch_accumulation.py``: where each backend keeps the sum of the gradients.
"""
