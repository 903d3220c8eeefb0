"""From a checkpoint to a training that continues, or to a model that is used.

* ``checkpoint_participants.py``: who takes part in checkpoints, and what each of them saves there.
* ``restore.py``: ``restore``; ``load_model.py``: ``load_model``; ``load_processing.py``: the tokenizer beside a model.
* ``find_checkpoint.py``: which checkpoint or model a source means.
* ``resume_position.py``: where a model's next training continues; set by ``restore``, read when a fit begins.
* ``training_state.py``: the whole state of a training as one value, captured and written.
* ``restore_state.py``: such a state put into a model; ``weight_restoring.py``: its weights alone;
  ``state_tensors.py``: its tensors, matched with the model's variables.
* ``lora_base.py``: the base of a LoRA training, which its checkpoints do not hold.
* ``trainer_state.py``: the file ``trainer_state.json`` as a value; ``saved_rows.py``: the rows beside it.
* ``checkpoint_listing.py``: the checkpoints of a directory or an artifact, local and on W&B side by side.
"""
