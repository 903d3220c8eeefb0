"""A loss that is a function of the model and a batch, in place of the one that a model is compiled with.

* ``loss_function.py``: what such a function is, how it is called, and where it is put into a model.
* ``tf_keras_loss_step.py``: the steps of tf_keras with such a loss; ``keras3_loss_step.py``: those of Keras 3, and
  ``tensorflow_loss_step.py``, ``jax_loss_step.py``, ``torch_loss_step.py`` those of each backend.
* ``training_mode.py``: whether the model trains that such a function calls.
* ``default_loss.py``: the loss that the model would otherwise have, in the same form.
"""
