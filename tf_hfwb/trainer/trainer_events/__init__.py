"""The callbacks of transformers' ``Trainer``, in a training of Keras.

* ``callback_events.py``: which events a callback overrides, and which callbacks cannot work.
* ``built_in_callbacks.py``: those that transformers' ``Trainer`` has by itself.
* ``event_dispatch.py``: ``TrainerEvents``: calls the events, with the ``state`` and the ``control`` that it keeps.
* ``training_log.py``: the rows of ``state.log_history``.
* ``training_flow.py``: ``TrainingFlow``: what follows a step or an epoch, as ``control`` says.
* ``flow_callbacks.py``: where that has its place in a ``fit``; ``prediction_steps.py``: and in an evaluation.
* ``callback_handler_for_scripts.py``: events that helpers of transformers' examples call.
* ``exported_states.py``: the states of callbacks in checkpoints.
"""
