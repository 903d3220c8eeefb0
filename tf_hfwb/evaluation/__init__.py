"""What a model says of an evaluation set: losses, predictions, metrics in Python, generated text.

* ``prediction_pass.py``: one pass over a data set: its loss, compiled metrics, predictions and labels.
* ``computed_metrics.py``: a user's ``compute_metrics``, on all predictions of a pass or batch by batch.
* ``text_generation.py``: ``Generator``: text from a model in the middle of its training, compiled.
* ``tables/``: the samples of a prediction table, as a person reads them.
"""
