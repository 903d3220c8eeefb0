"""The public Keras callbacks, one a file, and the list of them.

* ``row_logger.py``: what makes rows; with it ``metrics_logger.py``: ``WandbMetricsLogger``,
  ``tensorboard_logger.py``: ``TensorBoardLogger``, ``trackio_logger.py``: ``TrackioLogger``.
* ``model_checkpoint.py``: ``WandbModelCheckpoint``;
  ``early_stopping.py``: ``EarlyStopping``; ``weight_watch.py``: ``WandbWatch``; ``compute_metrics.py``:
  ``ComputeMetrics``.
* ``eval_table.py``: ``WandbEvalTable``; ``eval_callback.py``: ``WandbEvalCallback``.
* ``callback_list.py``: ``wandb_callbacks``; ``callback_checks.py``: a user's list of callbacks;
  ``callback_order.py``: the order that works.
"""
