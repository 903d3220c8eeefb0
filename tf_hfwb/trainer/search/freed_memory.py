"""What trials have freed goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import gc


def return_freed_memory() -> None:
    """Collect what nothing refers to, and let the allocator give it back: that of Linux keeps several models."""
    gc.collect()  # Models of Keras are cycles, of whose memory Python's collector knows nothing.
    with contextlib.suppress(AttributeError, OSError):  # Other allocators have no such function.
        ctypes.CDLL(None).malloc_trim(0)
