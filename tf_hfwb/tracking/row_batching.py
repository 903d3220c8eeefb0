"""Many rows go to the W&B client's service in one go.

``run.log`` hands each row to the client's own thread and waits until it has been sent: two switches of threads for a
row, which cost the process four times as much as the row itself, and disturb the training thread. Inside
:class:`Together` what this thread logs is gathered instead, and sent in one switch at the end.

The place where the client sends a record is private to it. Where a version of the client has it not, rows go as
``run.log`` sends them.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any


class Together:
    """Gathers what one thread writes to a run, from entering until :meth:`send`. Other threads write as ever.

    Args:
        run: The W&B run; None gathers nothing.

    Example:
        >>> from tf_hfwb.tracking.row_batching import Together
        >>> with Together(None) as together:
        ...     pass  # run.log(...), many times
        >>> together.send()
    """

    def __init__(self, run: Any) -> None:
        self._interface = _interface_of(run)
        self._records: list[Any] = []

    def __len__(self) -> int:
        return len(self._records)

    def __enter__(self) -> Together:
        interface = self._interface
        if interface is not None:
            thread, publish, gather = threading.get_ident(), interface._publish, self._records.append

            def publish_or_gather(record: Any, *, nowait: bool = False) -> None:
                if threading.get_ident() == thread:
                    gather(record)
                else:
                    publish(record, nowait=nowait)

            interface._publish = publish_or_gather
        return self

    def __exit__(self, *_: object) -> None:
        if self._interface is not None:
            vars(self._interface).pop("_publish", None)  # The class's own is there again.

    def send(self, timeout: float | None = None) -> None:
        """Send what was gathered, in order.

        Args:
            timeout: Seconds to wait at most for a service that takes nothing.

        Raises:
            Exception: The client could not send it.
        """
        if not self._records:
            return
        from wandb.proto import wandb_server_pb2

        interface = self._interface
        requests = []
        for record in self._records:
            interface._assign(record)
            # protobuf makes the class at import.
            requests.append(wandb_server_pb2.ServerRequest(record_publish=record))  # type: ignore[attr-defined]

        writer = getattr(interface._client, "_writer", None)

        async def send_all() -> None:
            for request in requests:
                if writer is not None and writer.is_closing():  # Else asyncio prints a line for each.
                    raise ConnectionResetError("its service has ended")
                await interface._client.publish(request)

        interface._asyncer.run(lambda: asyncio.wait_for(send_all(), timeout))


def _interface_of(run: Any) -> Any:
    """The run's way to the client's service, where it is the one that is known here; else None."""
    interface = getattr(run, "_interface", None)
    is_known = all(hasattr(interface, name) for name in ("_publish", "_assign", "_client", "_asyncer"))
    return interface if is_known else None
