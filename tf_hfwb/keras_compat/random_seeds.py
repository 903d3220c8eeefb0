"""Seeds of all random numbers, before there is a model that tells which Keras it belongs to."""

from __future__ import annotations

import random
import sys

import numpy as np


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy, and whichever of TensorFlow and the two Kerases is imported.

    Follows ``transformers.set_seed``.
    """
    random.seed(seed)
    np.random.seed(seed)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(seed)
    for package in ("tf_keras", "keras"):
        if package in sys.modules:
            sys.modules[package].utils.set_random_seed(seed)
