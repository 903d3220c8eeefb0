"""What a model gives for an evaluation set: losses, predictions, metrics in Python, generated text.

* ``batch_runner.py``: a model run over a data set: its loss, compiled metrics, predictions and labels.
  ``transformers_loss_step.py``: the compiled step of a model that computes its own loss; ``batch_parts.py``: inputs,
  labels and outputs of a batch; ``prediction_pass.py``: what such a pass gives, and how its batches are gathered.
* ``computed_metrics.py``: a user's ``compute_metrics``, on all predictions of a pass or batch by batch;
  ``metric_values.py``: what it returned, as plain values and without nesting;
  ``eval_prediction.py``: what it is called with.
* ``text_generation.py``: ``Generator``: text from a model in the middle of its training, compiled.
  ``task_generation.py``: the same for tasks of KerasHub.
  ``generation_options.py``, ``generation_lengths.py``: its options and lengths; ``prompts.py``: what goes in.
* ``tables/``: the samples of a prediction table.
"""
