"""The one seam to Weights & Biases: only this folder imports wandb."""

from tf_hfwb.tracking.run import Tracker, current_tracker, open_tracker

__all__ = ["Tracker", "current_tracker", "open_tracker"]
