"""``TFTrainer`` and its arguments.

* ``tf_trainer.py``: ``TFTrainer``.
* ``training_arguments.py``: ``TFTrainingArguments``; ``unused_arguments.py``: arguments that the data leaves without
  effect.
* ``optimizers.py``: the optimizer and the learning rate schedule that arguments describe.
* ``training_length.py``: how many steps a training has, and where it begins.
* ``trainer_callbacks.py``: the callbacks that arguments ask for.
* ``weight_building.py``: the weights of a model that has none yet.
* ``overridden_methods.py``: methods of subclasses that nothing would call.
"""
