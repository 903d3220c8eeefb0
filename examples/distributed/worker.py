"""One of the workers that train in step; each runs this with the same flags, those of ``tpu_text_classification.py``.

    WORKERS=10.0.0.1:12345,10.0.0.2:12345 WORKER_INDEX=0 python examples/distributed/worker.py --output_dir /shared/it

``WORKERS`` are the addresses of all, the chief's first, and ``WORKER_INDEX`` is the number of this one, from 0. Where
``TF_CONFIG`` is set already, as by Vertex AI and Kubeflow, it counts. All workers need to see the same output
directory. A job that was killed is started again in the same way: it continues from its newest checkpoint.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import Mapping

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))


def cluster_of(environ: Mapping[str, str]) -> str | None:
    """What ``TF_CONFIG`` is to be: as it is, or as ``WORKERS`` and ``WORKER_INDEX`` say; None for a single worker."""
    if environ.get("TF_CONFIG") or "WORKERS" not in environ:
        return environ.get("TF_CONFIG")
    addresses, index = environ["WORKERS"].split(","), int(environ.get("WORKER_INDEX", -1))
    if not 0 <= index < len(addresses):
        sys.exit(
            f"error: WORKER_INDEX={environ.get('WORKER_INDEX')!r}. Expected the number of this worker among the "
            f"{len(addresses)} of WORKERS, from 0. Set it for each of them."
        )
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


def main() -> None:
    config = cluster_of(os.environ)
    if config is not None:
        os.environ["TF_CONFIG"] = config  # Before TensorFlow is imported.
    from tpu_text_classification import main as train

    train(["--resume_from_checkpoint", "True", *sys.argv[1:]])


if __name__ == "__main__":
    main()
