"""Input pipelines for ``model.fit``, ``evaluate`` and ``predict`` that resume at any step at no cost.

A pipeline is two independent halves: an *order* (``order.py``: step number to sample indices, a pure function of the
seed) and a *source* (sample indices to a batch: ``columns.py``, ``collate.py``, ``arrays.py``).
"""

from tf_hfwb.data.batches import Batches, evaluation_batches, training_batches

__all__ = ["Batches", "training_batches", "evaluation_batches"]
