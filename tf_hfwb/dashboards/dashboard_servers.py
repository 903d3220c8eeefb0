"""The servers of dashboards, on this machine only."""

from __future__ import annotations

import os


def start_tensorboard(directory: str) -> str:
    """Start TensorBoard on threads of this process.

    Args:
        directory: That of the events of several runs.

    Returns:
        Its address.
    """
    from tensorboard import program

    server = program.TensorBoard()
    server.configure(argv=[None, "--logdir", directory, "--host", "127.0.0.1"])
    return str(server.launch())


def start_trackio(project: str) -> str:
    """Start trackio's dashboard on threads of this process.

    Args:
        project: The project that it shows first.

    Returns:
        Its address.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # Nobody is told that it was started.
    import trackio

    _, address, *_ = trackio.show(project, open_browser=False, block_thread=False, host="127.0.0.1")
    return str(address)
