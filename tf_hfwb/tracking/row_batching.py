"""Many rows go to the W&B client's service in one go.

``run.log`` hands each row to the client's own thread and waits until it has been sent: two switches of threads for a
row, which cost the process four times as much as the row itself, and disturb the training thread. Inside
:class:`RowBatch` what this thread logs is gathered instead, and sent in one switch at the end.
"""

from __future__ import annotations

from typing import Any

from tf_hfwb.tracking.wandb_private import RecordStream


class RowBatch:
    """Gathers what one thread writes to a run, from entering until :meth:`send`. Other threads write as ever.

    Args:
        run: The W&B run; None gathers nothing.

    Example:
        >>> from tf_hfwb.tracking.row_batching import RowBatch
        >>> with RowBatch(None) as together:
        ...     pass  # run.log(...), many times
        >>> together.send()
    """

    def __init__(self, run: Any) -> None:
        self._stream = RecordStream(run)
        self._records: list[Any] = []

    def __len__(self) -> int:
        return len(self._records)

    def __enter__(self) -> RowBatch:
        self._stream.gather(self._records.append)
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.stop_gathering()

    def send(self, timeout: float | None = None) -> None:
        """Send what was gathered, in order.

        Args:
            timeout: Seconds to wait at most for a service that takes nothing.

        Raises:
            Exception: The client could not send it.
        """
        if self._records:
            self._stream.send(self._records, timeout)
