"""Directories that survive a kill: the format of a checkpoint on disk. Nothing here knows of TensorFlow.

* ``store.py``: the checkpoints of an output directory: find, list, commit and prune them; ``step_names.py``: their
  names; ``known_checkpoints.py``: which ones a process that saves knows already.
* ``manifest.py``: a committed checkpoint as a reader sees it, and whether its files are as the manifest says.
* ``checkpoint_draft.py``: a checkpoint that is being written, up to its commit.
* ``safetensors_files.py``: files of tensors, written in chunks; ``digests.py``: SHA-256 of files and contents.
* ``background_writer.py``: the thread that writes checkpoints; ``writing_pace.py``: how long it rests;
  ``pending_writes.py``: readers of the same process wait for it.
* ``regular_files.py``: only regular files are opened; ``temporary_names.py``: names that are not checkpoints.
* ``directory_removal.py``: remove old checkpoints and nothing of anybody else; ``fsync.py``: fsync.
"""
