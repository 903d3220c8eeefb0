"""From a checkpoint back to a training that continues, or to a model that is used.

* ``restore.py``: ``restore`` and ``load_model``, and which checkpoint a source means.
* ``participants.py``: who takes part in checkpoints, and what each of them saves there.
* ``resume_position.py``: where a model's next training continues; set by ``restore``, read when a fit begins.
* ``training_state.py``: the whole state of a training as one value, captured and put back.
* ``trainer_state.py``: the file ``trainer_state.json`` as a value.
* ``checkpoint_listing.py``: the checkpoints of a directory or an artifact, local and on W&B side by side.
"""
