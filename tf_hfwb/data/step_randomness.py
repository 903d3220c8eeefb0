"""What a data collator draws at random, as a function of the seed and the step, so that a resumed training sees it."""

from __future__ import annotations

import contextlib
import copy
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tf_hfwb.data.sample_source import Collator

# Python's and NumPy's own generators belong to the whole process, and an evaluation may run beside a training.
_GLOBAL_GENERATORS = threading.Lock()


def seeded_by_step(collator: Collator, seed: int) -> Callable[[list[dict[str, Any]], int], Mapping[str, Any]]:
    """The collator as a function of rows and a step, with the generator of its own seeded, where it has one.

    The collators of transformers that mask words have one (``get_generator``); they may run in several threads.
    """
    if not (hasattr(collator, "get_generator") and hasattr(collator, "seed") and hasattr(collator, "generator")):
        return lambda rows, step: collator(rows)

    def collate(rows: list[dict[str, Any]], step: int) -> Mapping[str, Any]:
        own: Any = copy.copy(collator)
        own.seed = 1 + _number(own.seed or 0, seed, step)  # It takes 0 for None.
        own.generator = own.get_generator(own.seed)
        batch: Mapping[str, Any] = own(rows)
        return batch

    return collate


@contextlib.contextmanager
def seeded_global_generators(seed: int, step: int) -> Iterator[None]:
    """Seed ``random`` and ``numpy.random`` for a block, which no other such block enters; then put back their states.

    What other threads draw meanwhile comes from the same generators.
    """
    with _GLOBAL_GENERATORS:
        states = random.getstate(), np.random.get_state()
        number = _number(seed, step)
        random.seed(number)
        np.random.seed(number)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _number(*parts: int) -> int:
    """An integer of 31 bits, another one for each sequence of integers."""
    words = np.random.SeedSequence([part % 2**63 for part in parts]).generate_state(1)
    return int(words[0]) % 2**31
