"""Hyperparameter search: trials of one trainer, chosen by a backend.

* ``search_backend.py``: what a search asks of a backend, and what the backend gets; ``backend_choice.py``: which one.
* ``search_trial.py``: one trial: what a backend hands to the trainer, what it gets back, and what is remembered.
* ``trial_parameters.py``: hyperparameters as training arguments; ``objective_values.py``: metrics as the objective;
  ``freed_memory.py``: what is left of a trial.
* ``optuna_backend.py``: the backend optuna; ``optuna_study.py``: its study; ``repeatable_sampler.py``: the same seed,
  the same trials; ``trial_claims.py``: which process trains which trial; ``optuna_private.py``: every private name of
  optuna that is used.
* ``ray_backend.py``: the backend ray; ``ray_trial.py``: a trial in a process of its own; ``ray_population.py``:
  what a population needs besides; ``ray_private.py``: every private name of Ray that is used.
* ``wandb_backend.py``: the backend wandb, whose trials are those of a sweep.
* ``search_report.py``: what was found, in words and in a W&B run; ``parallel_coordinates.py``: as a picture.
"""
