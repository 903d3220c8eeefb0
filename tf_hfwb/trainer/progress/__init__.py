"""What a user sees of a training while it runs, and when it has ended.

* ``training_progress.py``: the callback that shows how far the training is.
* ``step_pace.py``: its rate, and the time that is left; ``progress_line.py``: this in words, on one line.
* ``progress_output.py``: where it is written: to a terminal, into a notebook or into a log.
* ``notebook_table.py``: what evaluations have found, as a table in a notebook.
* ``closing_table.py``: what has happened, at the end.
"""
