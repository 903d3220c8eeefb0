"""What happens inside one fit: steps, rows, evaluations, signals and the run; the callbacks share it.

* ``step_clock.py``: the global step; ``step_callback.py``: the base of callbacks that act on steps.
* ``evaluations.py``: evaluations in the middle of a fit, and callbacks that act on them.
* ``metric_names.py``: Keras's names of metrics and W&B's; ``metric_direction.py``: which way a metric is better.
* ``metric_rows.py``: the rows of the run; ``training_totals.py``: steps, samples and mean loss of the whole fit.
* ``fit_run.py``: the W&B run of a fit; ``training_artifacts.py``: the artifacts of its checkpoints and its model.
* ``best_monitoring.py``: whether the metric that tells the best checkpoint is there; ``carried_best.py``: the best
  checkpoint of a training that continues in another directory.
* ``keras_callback_states.py``: the state of Keras's own callbacks.
* ``signals.py``: SIGTERM and Ctrl-C; ``stop_after_steps.py``: the end of a fit after a number of steps.
"""
