"""What happens inside one fit: steps, rows, evaluations, signals and the run; the callbacks share it.

* ``fit_session.py``: the one object that the callbacks of a fit share; ``between_fits.py``: what is remembered of a
  model between its fits; ``training_end.py``: what happens to the model at the end.
* ``callback_place.py``: where a callback stands in a list that works.
* ``step_clock.py``: the global step; ``step_schedule.py``: at which execution a callback has something to do;
  ``foreseen_steps.py``: steps that need no look; ``step_callback.py``: the base of callbacks that act on steps.
* ``fit_callback.py``: the base of callbacks that share the session.
* ``evaluate_during_fit.py``: evaluations in the middle of a fit; ``shared_evaluations.py``: what they have found;
  ``keras_validation.py``: when Keras validates; ``evaluation_listener.py``: the base of callbacks that act on both.
* ``metric_names.py``: Keras's names of metrics and W&B's; ``metric_direction.py``: which way a metric is better.
* ``plateau_rate.py``: a learning rate that falls where a metric stands still.
* ``added_metrics.py``: metrics that callbacks add to the logs of an epoch.
* ``recorded_losses.py``: the base of callbacks that look at all losses; ``finite_losses.py``: those that are
  no numbers, and the last checkpoint from before them.
* ``logging_policy.py``: when a row is due; ``metric_rows.py``: the rows of the run; ``throughput.py``: steps and
  samples per second;
  ``training_totals.py``: steps, samples and mean loss of the whole fit; ``token_totals.py``: its tokens;
  ``stream_checkpoints.py``: where it stands in a stream of data; ``loader_checkpoints.py``: where its loader stands.
* ``wandb_run.py``: the W&B run of a fit; ``training_artifacts.py``: the artifacts of its checkpoints and its model.
* ``checkpoint_options.py``: the checked arguments of ``WandbModelCheckpoint``; ``checkpoint_saver.py``: what is saved
  and how; ``best_checkpoint.py``: which one is the best; ``best_monitoring.py``: whether the metric that tells it is
  there; ``best_checkpoint_transfer.py``: the best checkpoint of a training that continues in another directory;
  ``checkpoint_uploader.py``: what uploads them to other places; ``added_files.py``: what a user's function adds.
* ``keras_callback_states.py``: the state of Keras's own callbacks; ``swapped_averages.py``: the one that exchanges the
  weights and their averages.
* ``signals.py``: SIGTERM and Ctrl-C; ``exit_record.py``: the end of the run after SIGTERM, where nothing saves;
  ``stop_after_steps.py``: the end of a fit after a number of steps.
"""
