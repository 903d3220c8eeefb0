"""How weights are updated: the optimizer and the learning rates that training arguments describe.

* ``optimizer_choice.py``: the optimizer; ``learning_rate_schedules.py``: the rate of each step.
"""
