"""The one seam to Weights & Biases: only this folder imports wandb."""

from tf_hfwb.tracking.run import Tracker, open_tracker

__all__ = ["Tracker", "open_tracker"]
