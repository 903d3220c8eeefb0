"""Two workers on this machine, to try out a distributed training: ``python examples/distributed/two_workers.py``.

Flags are those of ``tpu_text_classification.py``. The chief's output is shown, the other's is in ``worker-1.log``.
When one of them fails the other is ended, which would wait for it otherwise; the same command again continues from the
newest checkpoint.
"""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
import time

WORKER = pathlib.Path(__file__).with_name("worker.py")


def free_addresses(number: int) -> list[str]:
    """Addresses on this machine that nobody listens at."""
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def main() -> int:
    environ = {**os.environ, "WORKERS": ",".join(free_addresses(2)), "PYTHONUNBUFFERED": "1"}
    environ.pop("TF_CONFIG", None)
    with open("worker-1.log", "wb") as log:
        workers = [
            subprocess.Popen(
                [sys.executable, str(WORKER), *sys.argv[1:]],
                env={**environ, "WORKER_INDEX": str(index)},
                stdout=log if index else None,
                stderr=subprocess.STDOUT if index else None,
            )
            for index in range(2)
        ]
        try:
            while any(worker.poll() is None for worker in workers) and not any(worker.poll() for worker in workers):
                time.sleep(0.2)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
        finally:
            for worker in workers:
                if worker.poll() is None:
                    worker.terminate()
            for worker in workers:
                try:
                    worker.wait(60)
                except subprocess.TimeoutExpired:
                    worker.kill()
    status = next((worker.wait() for worker in workers if worker.wait()), 0)
    if status:
        print(f"A worker has ended with {status}. The log of the second one is worker-1.log.", file=sys.stderr)
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
