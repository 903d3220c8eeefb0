"""Directories that survive a kill: the format of a checkpoint on disk. Nothing here knows of TensorFlow."""
