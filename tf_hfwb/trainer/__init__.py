"""``TFTrainer`` and its arguments.

* ``tf_trainer.py``: ``TFTrainer``: what a user calls, and the phases of a training in their order.
* ``arguments/``: ``TFTrainingArguments``, and the checks of what they say.
* ``constructor_checks.py``: what the trainer refuses when it is made; ``overridden_methods.py``: methods of subclasses
  that nothing would call.
* ``trainer_batches.py``: the batches of the data; ``training_length.py``: how many steps a training has, and where it
  begins; ``optimization/``: the optimizer and the learning-rate schedule that arguments describe;
  ``training_plan.py``: what was decided of all that before the first step.
* ``model_computation.py``: how the model computes in a training and in an evaluation.
* ``training_backend.py``: settings of TensorFlow, JAX and XLA.
* ``training_precision.py``: train in 16 bits; ``label_smoothing.py``: smooth the labels of the loss;
  ``gradient_checkpointing.py``: compute activations again; ``embedding_noise.py``: noise on the input embeddings.
* ``training_resume.py``: resume from a checkpoint; ``weight_building.py``: the weights of a model that has none yet.
* ``trainer_callbacks.py``: the callbacks that arguments ask for; ``training_fit.py``: run ``fit`` and sum it up;
  ``trainer_reporting.py``: the W&B run that hears of it.
* ``trainer_evaluation.py``: evaluate and predict; ``model_directory.py``: what ``save_model`` writes.
"""
