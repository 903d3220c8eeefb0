"""``TFTrainer`` and its arguments.

* ``tf_trainer.py``: ``TFTrainer``: what a user calls, and the phases of a training in their order.
* ``arguments/``: ``TFTrainingArguments``, and the checks of what they say.
* ``extension_points.py``, ``evaluation_points.py``: the methods that subclasses may override: data, optimizer, model
  and loss; evaluation. ``own_loss_function.py``: such a loss for the model's step; ``batch_loader.py``: batches as
  arrays.
* ``constructor_checks.py``: what the trainer refuses when it is made; ``overridden_methods.py``: methods of subclasses
  that nothing would call.
* ``trainer_batches.py``: the batches of the data; ``training_length.py``: how many steps a training has, and where it
  begins; ``optimizers.py``: the optimizer and the learning rate schedule that arguments describe;
  ``training_plan.py``: what was decided of all that before the first step.
* ``training_resume.py``: resume from a checkpoint; ``weight_building.py``: the weights of a model that has none yet.
* ``trainer_callbacks.py``: the callbacks that arguments ask for; ``training_fit.py``: run ``fit`` and sum it up;
  ``trainer_reporting.py``: the W&B run that hears of it.
* ``trainer_evaluation.py``: evaluate and predict; ``model_directory.py``: what ``save_model`` writes.
"""
