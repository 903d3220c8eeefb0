"""Hyperparameter search: trials of one trainer, chosen by a backend.

* ``search_backend.py``: what a search asks of a backend, and what the backend gets; ``backend_choice.py``: which one.
* ``search_trial.py``: one trial: what a backend hands to the trainer, what it gets back, and what is remembered.
* ``trial_parameters.py``: hyperparameters as training arguments; ``objective_values.py``: metrics as the objective.
* ``optuna_backend.py``: the backend optuna; ``optuna_study.py``: its study; ``repeatable_sampler.py``: the same seed,
  the same trials; ``trial_claims.py``: which process trains which trial; ``optuna_private.py``: every private name of
  optuna that is used.
* ``search_report.py``: what was found, in words and in a W&B run; ``parallel_coordinates.py``: as a picture.
"""
