"""How weights are updated: the optimizer and the learning rates that training arguments describe.

* ``optimizer_names.py``: what ``optim`` and ``optim_args`` may be; ``optimizer_choice.py``: the optimizer that they
  describe; ``weight_decay_groups.py``: which weights decay.
* ``learning_rate_schedules.py``: the rate of each step.
"""
