"""The gradients of a step, summarized in the training graph.

* ``gradient_observer.py``: what callbacks ask; ``tensorflow_gradient_observer.py``, ``jax_gradient_observer.py``,
  ``torch_gradient_observer.py``: how each backend answers.
* ``histogram_bins.py``: the distribution of a tensor's values.
* ``optimizer_seams.py``: where an observer is put into an optimizer.
"""
