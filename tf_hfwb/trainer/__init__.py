"""``TFTrainer`` and its arguments.

* ``tf_trainer.py``: ``TFTrainer``: what a user calls, and the phases of a training in their order.
* ``arguments/``: ``TFTrainingArguments``, and the checks of what they say.
* ``constructor_checks.py``: what the trainer refuses when it is made; ``overridden_methods.py``: methods of subclasses
  that nothing would call.
* ``trainer_batches.py``: the batches of the data; ``training_length.py``: how many steps a training has, and where it
  begins; ``optimization/``: the optimizer and the learning-rate schedule that arguments describe;
  ``training_plan.py``: what was decided of all that before the first step.
* ``training_resume.py``: resume from a checkpoint; ``weight_building.py``: the weights of a model that has none yet.
* ``trainer_events/``: the callbacks of transformers' ``Trainer``; ``callback_methods.py``: a trainer's methods about
  its callbacks.
* ``trainer_callbacks.py``: the callbacks that arguments ask for; ``training_fit.py``: run ``fit`` and sum it up;
  ``trainer_reporting.py``: the W&B run that hears of it.
* ``script_methods.py``: methods that scripts call around training; ``metric_texts.py``: metrics as a person reads them.
* ``sharing_methods.py``: methods that save and share a model; ``model_card.py``: its card; ``hyperparameters.py``: what
  the card says of the training; ``hub_uploads.py``: the repository on the Hub; ``push_checkpoints.py``: checkpoints on
  their way there.
* ``trainer_evaluation.py``: evaluate and predict; ``model_directory.py``: what ``save_model`` writes.
"""
