"""How the examples tell what a user can put right: in one line, without a traceback."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from tf_hfwb.errors import TFHFWBError


@contextlib.contextmanager
def tell_errors(interrupted: str = "interrupted") -> Iterator[None]:
    """End the program with exit status 2 after an error of the user's, and with 130 after Ctrl-C.

    Args:
        interrupted: What is said after Ctrl-C.
    """
    try:
        yield
    except (TFHFWBError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{interrupted}", file=sys.stderr)
        sys.exit(130)
