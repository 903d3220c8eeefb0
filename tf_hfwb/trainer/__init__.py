"""``TFTrainer`` and its arguments.

* ``tf_trainer.py``: ``TFTrainer``: what a user calls, and the phases of a training in their order.
* ``arguments/``: ``TFTrainingArguments``, and the checks of what they say.
* ``trainer_attributes.py``: what the groups of its methods share: model, arguments, data.
* ``extension_points.py``, ``evaluation_methods.py``: the methods that subclasses may override: data, optimizer, model
  and loss; evaluation. ``user_loss_function.py``: such a loss for the model's step; ``batch_loader.py``: batches as
  arrays.
* ``constructor_checks.py``: what the trainer refuses before any time is spent; ``overridden_methods.py``: methods of
  subclasses that nothing would call.
* ``trainer_batches.py``: the batches of the data; ``token_counting.py``: how many tokens they have;
  ``training_length.py``: how many steps a training has, and where it begins; ``optimization/``: the optimizer and the
  learning-rate schedule that arguments describe; ``training_plan.py``: what was decided of all that before the first
  step.
* ``worker_facts.py``: what all workers must have the same.
* ``computation_settings.py``: how the model computes in a training and in an evaluation.
* ``training_backend.py``: settings of the backend.
* ``training_precision.py``: train in 16 bits. ``label_smoothing_argument.py``, ``gradient_checkpointing_argument.py``,
  ``neftune_argument.py``: whether a model can do what the arguments of these names ask for; how it is done is in
  the files of that name in the seam to Keras.
* ``training_resume.py``: resume from a checkpoint; ``weight_building.py``: the weights of a model that has none yet.
* ``trainer_events/``: the callbacks of transformers' ``Trainer``; ``callback_methods.py``: a trainer's methods about
  its callbacks.
* ``fit_callbacks.py``: the callbacks that arguments ask for; ``training_fit.py``: run ``fit`` and sum it up;
  ``trainer_reporting.py``: the W&B run that hears of it; ``trainer_dashboards.py``: the dashboards that do;
  ``batch_size_search.py``: smaller batches where the first
  step does not fit into the memory; ``trainer_pickling.py``: what another process makes a trainer of;
  ``memory_metrics.py``: how much memory is used.
* ``progress/``: what a user sees of a training: the bar, and a table at the end.
* ``search_methods.py``: the search for hyperparameters, and the training of one trial; ``search/``: how it is done.
* ``reporting_methods.py``: methods by which scripts print and save metrics and state; ``metric_texts.py``: metrics as
  a person reads them.
* ``sharing_methods.py``: methods that save and share a model; ``model_card.py``: its card; ``hyperparameters.py``: what
  the card says of the training; ``hub_uploads.py``: the repository on the Hub; ``push_checkpoints.py``: checkpoints on
  their way there; ``checkpoint_additions.py``: what an overridden ``save_model`` adds to them.
* ``dataset_evaluation.py``: one pass over one dataset, which ``evaluate`` and ``predict`` make;
  ``model_directory.py``: what ``save_model`` writes.
"""
