"""Optimizers of either Keras that update weights as PyTorch's do.

* ``update_rule.py``: what an optimizer computes from weights and gradients, as plain arithmetic. One file for each:
  ``adamw.py``, ``adafactor.py``, ``sgd.py``, ``adagrad.py``, ``rmsprop.py``, ``lion.py``, ``lamb.py``;
  ``rule_configuration.py``: which there are, and how a configuration names them.
* ``tf_keras_optimizer.py``, ``keras3_optimizer.py``: a rule as an optimizer of each Keras.
* ``gradient_clipping.py``: gradients made dense, and clipped to a common norm.
"""
