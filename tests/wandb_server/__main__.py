"""``python -m wandb_server`` in the tests' directory: a server to try the client on by hand, until interrupted."""

import threading

from wandb_server import WandbServer

if __name__ == "__main__":
    with WandbServer() as server:
        for name, value in server.environment().items():
            print(f"export {name}={value}", flush=True)  # noqa: T201
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(f"\n# unknown operations: {sorted(set(server.unknown))}")  # noqa: T201
